// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is judged.

use super::Context;
use crate::controls::SecondaryControls;
use crate::kvm::NestedState;
use crate::kvm::state::SIZE_WITH_VMCS12;
use crate::vmcs::Vmcs;

pub(super) struct Case<'a> {
    pub state: &'a NestedState,
    pub context: &'a Context<'a>,
    /// How many bytes of the state there are.
    pub available: usize,
}

impl<'a> Case<'a> {
    /// The vCPU is to be outside VMX operation.
    pub fn is_off(&self) -> bool {
        self.state.vmxon().is_none()
    }

    /// KVM does not look at vmcs12.
    pub fn is_short(&self) -> bool {
        !self.state.reaches(SIZE_WITH_VMCS12)
    }

    /// vmcs12, where KVM reads it: whole, and in VMX operation.
    pub fn vmcs12(&self) -> Option<&'a Vmcs> {
        let has_all = !self.is_off() && self.available >= SIZE_WITH_VMCS12;
        self.state.vmcs12().filter(|_| has_all)
    }

    /// vmcs12 of an L2 that is active, of the right revision: then KVM checks its fields.
    pub fn active_vmcs12(&self) -> Option<&'a Vmcs> {
        self.vmcs12()
            .filter(|vmcs12| vmcs12.revision() == crate::vmcs::KVM_REVISION)
            .filter(|_| self.state.is_in_guest_mode())
    }

    /// KVM reads a shadow vmcs12.
    pub fn needs_shadow(&self) -> bool {
        self.active_vmcs12().is_some_and(|vmcs12| {
            let shadows = vmcs12
                .secondary()
                .contains(SecondaryControls::VMCS_SHADOWING);
            shadows && vmcs12.vmcs_link_pointer() != NestedState::NO_ADDRESS
        })
    }

    /// A page's address that the vCPU can have.
    pub fn is_page(&self, address: u64) -> bool {
        let beyond = self.context.capabilities.processor.beyond_physical();
        address & (beyond | 0xfff) == 0
    }
}
