// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A vCPU as a restore sees it.

use alloc::vec::Vec;

use kvm_bindings::{
    CpuId, kvm_debugregs, kvm_fpu, kvm_lapic_state, kvm_mp_state, kvm_regs, kvm_sregs,
    kvm_vcpu_events, kvm_xcrs,
};

use crate::kvm::{Errno, NestedState};

/// An MSR with its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Msr {
    /// Its number.
    pub index: u32,
    /// Its value.
    pub value: u64,
}

/// The ioctls of a vCPU, each as KVM has it: [`KvmVcpu`](super::KvmVcpu) passes them on, a test or a
/// VMM of its own kind puts something else here. Each fails with the `errno` of its ioctl.
#[allow(
    clippy::missing_errors_doc,
    reason = "said once, for all of them: the errno of the ioctl"
)]
pub trait VcpuPort {
    /// KVM_GET_CPUID2.
    fn cpuid(&self) -> Result<CpuId, Errno>;
    /// KVM_SET_CPUID2.
    fn set_cpuid(&self, cpuid: &CpuId) -> Result<(), Errno>;

    /// KVM_GET_MSRS: as many as can be read, up to the first that cannot.
    fn msrs(&self, indices: &[u32]) -> Result<Vec<Msr>, Errno>;
    /// KVM_SET_MSRS: how many were set, up to the first that was not.
    fn set_msrs(&self, msrs: &[Msr]) -> Result<usize, Errno>;

    /// KVM_GET_SREGS.
    fn sregs(&self) -> Result<kvm_sregs, Errno>;
    /// KVM_SET_SREGS.
    fn set_sregs(&self, sregs: &kvm_sregs) -> Result<(), Errno>;

    /// KVM_GET_REGS.
    fn regs(&self) -> Result<kvm_regs, Errno>;
    /// KVM_SET_REGS.
    fn set_regs(&self, regs: &kvm_regs) -> Result<(), Errno>;

    /// KVM_GET_XCRS.
    fn xcrs(&self) -> Result<kvm_xcrs, Errno>;
    /// KVM_SET_XCRS.
    fn set_xcrs(&self, xcrs: &kvm_xcrs) -> Result<(), Errno>;

    /// KVM_GET_FPU.
    fn fpu(&self) -> Result<kvm_fpu, Errno>;
    /// KVM_SET_FPU.
    fn set_fpu(&self, fpu: &kvm_fpu) -> Result<(), Errno>;

    /// KVM_GET_XSAVE or KVM_GET_XSAVE2, by a port that can set it too: the words of the area, as
    /// many as there are.
    fn xsave(&self) -> Result<Option<Vec<u32>>, Errno> {
        Ok(None)
    }
    /// KVM_SET_XSAVE.
    fn set_xsave(&self, _area: &[u32]) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }

    /// KVM_GET_DEBUGREGS.
    fn debug_regs(&self) -> Result<kvm_debugregs, Errno>;
    /// KVM_SET_DEBUGREGS.
    fn set_debug_regs(&self, debug_regs: &kvm_debugregs) -> Result<(), Errno>;

    /// KVM_GET_NESTED_STATE.
    fn nested_state(&self) -> Result<NestedState, Errno>;
    /// KVM_SET_NESTED_STATE. If L2 is active, KVM leaves it first, and writes its shadow vmcs12 to
    /// L1's memory.
    fn set_nested_state(&self, state: &NestedState) -> Result<(), Errno>;

    /// KVM_GET_LAPIC. It fails with EINVAL where the local APIC is not KVM's.
    fn lapic(&self) -> Result<kvm_lapic_state, Errno>;
    /// KVM_SET_LAPIC.
    fn set_lapic(&self, lapic: &kvm_lapic_state) -> Result<(), Errno>;

    /// KVM_GET_VCPU_EVENTS.
    fn vcpu_events(&self) -> Result<kvm_vcpu_events, Errno>;
    /// KVM_SET_VCPU_EVENTS.
    fn set_vcpu_events(&self, events: &kvm_vcpu_events) -> Result<(), Errno>;

    /// KVM_GET_MP_STATE.
    fn mp_state(&self) -> Result<kvm_mp_state, Errno>;
    /// KVM_SET_MP_STATE.
    fn set_mp_state(&self, mp_state: kvm_mp_state) -> Result<(), Errno>;
}

/// Those of these MSRs that can be read.
pub(super) fn readable<P: VcpuPort + ?Sized>(port: &P, indices: &[u32]) -> Result<Vec<Msr>, Errno> {
    let mut found = Vec::with_capacity(indices.len());
    let mut left = indices;
    while !left.is_empty() {
        let read = port.msrs(left)?;
        // The one that it stopped at is left out.
        left = left.get(read.len() + 1..).unwrap_or_default();
        found.extend(read);
    }
    Ok(found)
}
