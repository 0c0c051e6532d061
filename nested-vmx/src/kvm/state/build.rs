// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! States made by hand.

use alloc::boxed::Box;

use super::layout::{HEADER_SIZE, STATE_SIZE, WHOLE_VMCS12};
use super::{NestedState, StateFlags};
use crate::vmcs::{KVM_REVISION, Vmcs};

impl NestedState {
    /// A vCPU outside VMX operation. Setting it also takes a vCPU out of VMX operation.
    pub fn off() -> Self {
        let mut state = Self {
            header: [0; HEADER_SIZE],
            vmcs12: Box::new(Vmcs::from_bytes([0; crate::vmcs::REGION_SIZE])),
            shadow_vmcs12: Box::new(Vmcs::from_bytes([0; crate::vmcs::REGION_SIZE])),
        };
        state.set_size(HEADER_SIZE as u32);
        state.set_vmxon(None);
        state.set_current(None);
        state
    }

    /// A vCPU in VMX root operation, with its VMXON region at this physical address and without a
    /// current VMCS.
    pub fn root(vmxon: u64) -> Self {
        let mut state = Self::off();
        state.set_vmxon(Some(vmxon));
        state
    }

    /// The same with this current VMCS, at this physical address. Its revision identifier becomes
    /// KVM's.
    pub fn with_current(mut self, address: u64, vmcs12: Vmcs) -> Self {
        *self.vmcs12 = vmcs12;
        let is_shadow = self.vmcs12.is_shadow();
        self.vmcs12.set_header(KVM_REVISION, is_shadow);
        self.set_current(Some(address));
        let size = self.size().max(WHOLE_VMCS12 as u32);
        self.set_size(size);
        self
    }

    /// The same with L2 active; with `run_pending`, L1's VM entry is still to happen, and the event
    /// that vmcs12 injects is still to be delivered.
    pub fn in_guest_mode(mut self, run_pending: bool) -> Self {
        let mut flags = self.flags() | StateFlags::GUEST_MODE;
        flags.set(StateFlags::RUN_PENDING, run_pending);
        self.set_flags(flags);
        self
    }

    /// Sets the shadow VMCS that vmcs12's link pointer refers to, with KVM's revision identifier and
    /// the shadow-VMCS indicator, or takes it away.
    pub fn set_shadow(&mut self, shadow_vmcs12: Option<Vmcs>) {
        let size = match shadow_vmcs12 {
            Some(vmcs) => {
                *self.shadow_vmcs12 = vmcs;
                self.shadow_vmcs12.set_header(KVM_REVISION, true);
                STATE_SIZE
            }
            None => {
                *self.shadow_vmcs12 = Vmcs::from_bytes([0; crate::vmcs::REGION_SIZE]);
                self.length().min(WHOLE_VMCS12)
            }
        };
        self.set_size(size as u32);
    }
}
