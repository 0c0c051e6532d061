// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The buffer that kvm-ioctls passes to KVM. Both directions keep every byte.

use kvm_bindings::nested::KvmNestedStateBuffer;

use super::NestedState;
use super::layout::{HEADER_SIZE, STATE_SIZE};
use crate::vmcs::REGION_SIZE;

const _: () = assert!(size_of::<KvmNestedStateBuffer>() == STATE_SIZE);

impl From<&KvmNestedStateBuffer> for NestedState {
    fn from(buffer: &KvmNestedStateBuffer) -> Self {
        let bytes: [u8; STATE_SIZE] = zerocopy::transmute!(*buffer);
        let mut state = Self::off();
        let (header, data) = bytes.split_at(HEADER_SIZE);
        let (vmcs12, shadow) = data.split_at(REGION_SIZE);
        state.header.copy_from_slice(header);
        state.vmcs12.as_bytes_mut().copy_from_slice(vmcs12);
        state.shadow_vmcs12.as_bytes_mut().copy_from_slice(shadow);
        state
    }
}

impl From<KvmNestedStateBuffer> for NestedState {
    fn from(buffer: KvmNestedStateBuffer) -> Self {
        Self::from(&buffer)
    }
}

impl From<&NestedState> for KvmNestedStateBuffer {
    fn from(state: &NestedState) -> Self {
        let mut bytes = [0; STATE_SIZE];
        let (header, data) = bytes.split_at_mut(HEADER_SIZE);
        let (vmcs12, shadow) = data.split_at_mut(REGION_SIZE);
        header.copy_from_slice(&state.header);
        vmcs12.copy_from_slice(state.vmcs12.as_bytes());
        shadow.copy_from_slice(state.shadow_vmcs12.as_bytes());
        zerocopy::transmute!(bytes)
    }
}
