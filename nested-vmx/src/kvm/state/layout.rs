// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where everything is (kernel, `struct kvm_nested_state`, `struct kvm_vmx_nested_state_hdr`).

use crate::vmcs::{Field, REGION_SIZE};

/// Bytes of the header: what every state has.
pub const HEADER_SIZE: usize = 128;

/// Bytes of a state with both VMCSs; none is larger.
pub const STATE_SIZE: usize = HEADER_SIZE + 2 * REGION_SIZE;

pub(super) const FLAGS: usize = 0;
pub(super) const FORMAT: usize = 2;
pub(super) const SIZE: usize = 4;
pub(super) const VMXON: usize = 8;
pub(super) const VMCS12: usize = 16;
pub(super) const SMM_FLAGS: usize = 24;
pub(super) const HEADER_FLAGS: usize = 28;
pub(super) const TIMER_DEADLINE: usize = 32;

/// From this size on KVM takes a vmcs12: its `struct vmcs12` is shorter than the region.
pub(in crate::kvm) const SIZE_WITH_VMCS12: usize = HEADER_SIZE + Field::KVM_LAYOUT_END;

/// From this size on KVM takes a shadow vmcs12.
pub(in crate::kvm) const SIZE_WITH_SHADOW: usize =
    HEADER_SIZE + REGION_SIZE + Field::KVM_LAYOUT_END;

/// The header with a vmcs12.
pub(super) const WHOLE_VMCS12: usize = HEADER_SIZE + REGION_SIZE;
