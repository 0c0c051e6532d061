// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Bytes become a state and bytes again, whatever they are.

use kvm_bindings::nested::KvmNestedStateBuffer;
use nested_vmx::kvm::{
    BytesError, Context, HEADER_SIZE, HeaderFlags, NestedState, STATE_SIZE, SmmFlags, StateFlags,
    judge, judge_bytes,
};
use nested_vmx::vmcs::{REGION_SIZE, Vmcs};
use proptest::prelude::*;

use crate::states::{capabilities, current};

/// Bytes whose size is what it says, or not.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let size = prop_oneof![Just(128), Just(4224), Just(8320), 0..9000_usize];
    let content = proptest::collection::vec(any::<u8>(), 0..9000);
    (size, content, any::<bool>()).prop_map(|(size, mut bytes, says)| {
        if says {
            bytes.resize(size, 0);
            if let Some(place) = bytes.get_mut(4..8) {
                place.copy_from_slice(&(size as u32).to_le_bytes());
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in bytes()) {
        let capabilities = capabilities();
        let context = Context::new(&capabilities);
        let judged = judge_bytes(&bytes, &context);
        match NestedState::from_bytes(&bytes) {
            Ok(state) => {
                prop_assert_eq!(&state.to_bytes(), &bytes[..state.length()]);
                let buffer = KvmNestedStateBuffer::from(&state);
                prop_assert!(NestedState::from(buffer) == state);
                prop_assert_eq!(judge(&state, &context), judged);
            }
            Err(BytesError::NoHeader { length }) => prop_assert!(length < HEADER_SIZE),
            Err(BytesError::CutOff { size, length }) => {
                prop_assert!(length < size as usize && length < STATE_SIZE);
            }
        }
    }

    #[test]
    fn members_keep_what_is_set(
        flags: u16, format: u16, size: u32, smm: u16, header: u32,
        vmxon: Option<u64>, current_vmcs: Option<u64>, deadline: Option<u64>,
    ) {
        let mut state = current();
        state.set_flags(StateFlags::from_bits_retain(flags));
        state.set_format(format);
        state.set_smm_flags(SmmFlags::from_bits_retain(smm));
        state.set_header_flags(HeaderFlags::from_bits_retain(header));
        state.set_vmxon(vmxon);
        state.set_current(current_vmcs);
        state.set_preemption_timer_deadline(deadline);
        state.set_size(size);
        let read = NestedState::from(KvmNestedStateBuffer::from(&state));
        prop_assert_eq!(read.flags().bits(), flags);
        prop_assert_eq!(read.format(), format);
        prop_assert_eq!(read.size(), size);
        prop_assert_eq!(read.smm_flags().bits(), smm);
        prop_assert_eq!(read.header_flags().bits() | 1, header | 1);
        prop_assert_eq!(read.vmxon(), vmxon.filter(|&address| address != u64::MAX));
        prop_assert_eq!(read.current(), current_vmcs.filter(|&address| address != u64::MAX));
        prop_assert_eq!(read.preemption_timer_deadline(), deadline);
        prop_assert!(read == state);
    }
}

#[test]
fn builders() {
    let off = NestedState::off();
    assert_eq!((off.size(), off.vmxon(), off.current()), (128, None, None));
    assert!(off.vmcs12().is_none() && off == NestedState::default());
    assert_eq!(off.to_bytes().len(), 128);

    let root = NestedState::root(0x1000);
    assert_eq!((root.size(), root.vmxon()), (128, Some(0x1000)));

    let mut state = root.with_current(0x2000, Vmcs::from_bytes([7; REGION_SIZE]));
    assert_eq!((state.size(), state.current()), (4224, Some(0x2000)));
    assert_eq!(state.vmcs12().map(Vmcs::revision), Some(0x11e5_7ed0));
    assert!(state.shadow_vmcs12().is_none());
    state.set_shadow(Some(Vmcs::new(0)));
    assert_eq!(state.size(), 8320);
    assert!(state.shadow_vmcs12().is_some_and(Vmcs::is_shadow));
    state.set_shadow(None);
    assert_eq!(state.size(), 4224);

    let state = state.in_guest_mode(true);
    assert!(state.is_in_guest_mode() && state.is_run_pending());
    let state = state.in_guest_mode(false);
    assert!(state.is_in_guest_mode() && !state.is_run_pending());
}
