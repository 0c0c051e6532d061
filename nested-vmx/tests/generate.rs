// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! That generated states are of all kinds, whatever the capabilities.

#![allow(clippy::unwrap_used, clippy::panic)] // A test that fails panics.

mod common;

use std::collections::BTreeSet;

use arbitrary::Unstructured;
use common::{bytes, sets};
use nested_vmx::generate::{Mode, Scenario};
use nested_vmx::registers::{cr0, cr4, interruptibility, rflags};

/// Enough for any state.
const LENGTH: usize = 2048;

fn mode_of(scenario: &Scenario) -> Mode {
    let vmcs = &scenario.vmcs12;
    let (cr0, pae) = (vmcs.guest_cr0(), vmcs.guest_cr4() & cr4::PAE != 0);
    let is_v86 = vmcs.guest_rflags() & rflags::VM != 0;
    let is_long = vmcs.vm_entry_controls() & 1 << 9 != 0;
    let is_64_bit = vmcs.guest_cs_ar_bytes() & 1 << 13 != 0;
    match (cr0 & cr0::PE != 0, cr0 & cr0::PG != 0, is_long) {
        (false, false, false) => Mode::Real,
        (true, false, false) => Mode::Unpaged,
        (true, true, true) if is_64_bit => Mode::Long,
        (true, true, true) => Mode::Compatibility,
        (true, true, false) => match (pae, is_v86) {
            (true, true) => Mode::Virtual8086Pae,
            (true, false) => Mode::Pae,
            (false, true) => Mode::Virtual8086,
            (false, false) => Mode::Paging32,
        },
        other => panic!("no mode: {other:?}"),
    }
}

#[test]
fn every_mode_that_is_possible_is_made() {
    for &(name, capabilities) in sets() {
        let mut made = 0;
        for &mode in Mode::ALL {
            for seed in 0..50 {
                let bytes = bytes(seed, LENGTH);
                let scenario =
                    Scenario::in_mode(mode, &capabilities, &mut Unstructured::new(&bytes));
                assert_eq!(
                    scenario.is_some(),
                    mode.is_possible(&capabilities),
                    "{name} {mode:?}"
                );
                if let Some(scenario) = scenario {
                    assert_eq!(mode_of(&scenario), mode, "{name}");
                    made += 1;
                }
            }
        }
        // Without IA-32e mode, or without unrestricted guest, two modes are missing.
        let expected = match name {
            "bare" | "narrow addresses" => 6,
            _ => 8,
        };
        assert_eq!(made, expected * 50, "{name}");
    }
}

#[test]
fn states_are_of_all_kinds() {
    let (_, capabilities) = sets()[0];
    let mut modes = Vec::new();
    let (mut kinds, mut states) = (BTreeSet::new(), BTreeSet::new());
    let (mut blocking, mut activated) = (BTreeSet::new(), BTreeSet::new());
    let (mut linked, mut with_areas, mut hosts) = (0, 0, BTreeSet::new());
    for seed in 0..1000 {
        let bytes = bytes(seed, LENGTH);
        let scenario = Scenario::arbitrary(&capabilities, &mut Unstructured::new(&bytes)).unwrap();
        let vmcs = &scenario.vmcs12;
        let mode = mode_of(&scenario);
        if !modes.contains(&mode) {
            modes.push(mode);
        }
        let event = vmcs.vm_entry_intr_info_field();
        kinds.insert((event >> 31 != 0).then_some(event >> 8 & 7));
        states.insert(vmcs.guest_activity_state());
        let both = interruptibility::STI | interruptibility::MOV_SS;
        blocking.insert(vmcs.guest_interruptibility_info() & both);
        activated.insert((vmcs.primary().bits() >> 31, vmcs.secondary().bits() & 2));
        linked += u32::from(vmcs.vmcs_link_pointer() != u64::MAX);
        with_areas += u32::from(vmcs.vm_entry_msr_load_count() != 0);
        hosts.insert(scenario.l1.efer);
    }
    assert_eq!(modes.len(), Mode::ALL.len());
    let expected = [
        None,
        Some(0),
        Some(2),
        Some(3),
        Some(4),
        Some(5),
        Some(6),
        Some(7),
    ];
    assert_eq!(kinds, expected.into());
    assert_eq!(states, [0, 1, 2, 3].into());
    assert_eq!(blocking, [0, 1, 2].into());
    assert_eq!(activated, [(0, 0), (1, 0), (1, 2)].into());
    assert_eq!(hosts, [0, 0x500].into());
    assert!(linked > 200 && with_areas > 100, "{linked} {with_areas}");
}

#[test]
fn no_bytes_are_a_state_too() {
    for &(name, capabilities) in sets() {
        let scenario = Scenario::arbitrary(&capabilities, &mut Unstructured::new(&[]));
        assert!(scenario.is_some(), "{name}");
    }
}
