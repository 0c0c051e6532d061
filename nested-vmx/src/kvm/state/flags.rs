// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The flags in the header (kernel, `arch/x86/include/uapi/asm/kvm.h`, `KVM_STATE_*`).

use bitflags::bitflags;

bitflags! {
    /// `kvm_nested_state.flags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct StateFlags: u16 {
        /// L2 is active.
        const GUEST_MODE = 1 << 0;
        /// The VM entry that L1 asked for is still to happen.
        const RUN_PENDING = 1 << 1;
        /// The current VMCS is an enlightened one.
        const EVMCS = 1 << 2;
        /// A VM exit because of the monitor trap flag waits.
        const MTF_PENDING = 1 << 3;
        /// SVM's global interrupt flag. It has no meaning for VMX.
        const GIF_SET = 1 << 8;
    }
}

bitflags! {
    /// `kvm_nested_state.hdr.vmx.smm.flags`: what SMM interrupted.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct SmmFlags: u16 {
        /// L2 was active; RSM goes on with it. Once it was set, KVM shows it with every state of
        /// this vCPU until RSM, whatever is set (`free_nested` leaves it as it is): begin with a new
        /// vCPU.
        const GUEST_MODE = 1 << 0;
        /// The processor was in VMX operation.
        const VMXON = 1 << 1;
    }
}

bitflags! {
    /// `kvm_nested_state.hdr.vmx.flags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct HeaderFlags: u32 {
        /// The deadline of L1's preemption timer is valid.
        const PREEMPTION_TIMER_DEADLINE = 1 << 0;
    }
}
