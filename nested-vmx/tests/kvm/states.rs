// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! States to begin with.

use nested_vmx::capability::{Capabilities, Processor};
use nested_vmx::kvm::NestedState;
use nested_vmx::model::vmcs12_of;

pub fn capabilities() -> Capabilities {
    Capabilities::software(Processor::new(40))
}

/// In VMX operation, with a current VMCS that a VM entry accepts.
pub fn current() -> NestedState {
    NestedState::root(0x1000).with_current(0x2000, vmcs12_of(&capabilities()))
}

/// The same without a current VMCS, from its header.
pub fn without_vmcs12() -> NestedState {
    NestedState::root(0x1000)
}
