// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Control bits, VM-instruction errors and exit reasons against their tables.
#![allow(clippy::expect_used, clippy::panic, reason = "a test may")]

mod facts;

use nested_vmx::capability::{Capabilities, Processor};
use nested_vmx::controls::{
    EntryControls, ExitControls, PinControls, PrimaryControls, SecondaryControls,
    SecondaryExitControls, TertiaryControls,
};
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::instruction_error::InstructionError;

/// All bits with a name, by the group's name in the table.
fn named(group: &str) -> u64 {
    match group {
        "pin" => PinControls::all().bits().into(),
        "primary" => PrimaryControls::all().bits().into(),
        "secondary" => SecondaryControls::all().bits().into(),
        "tertiary" => TertiaryControls::all().bits(),
        "exit" => ExitControls::all().bits().into(),
        "exit2" => SecondaryExitControls::all().bits(),
        "entry" => EntryControls::all().bits().into(),
        other => panic!("{other}"),
    }
}

#[test]
fn every_control_has_its_bit() {
    let rows = facts::rows("controls.tsv");
    assert_eq!(rows.len(), 137);
    let mut listed = std::collections::BTreeMap::<&str, u64>::new();
    for row in &rows {
        let bit = 1_u64 << row["bit"].parse::<u32>().expect("a number");
        let always_1 = row["default1_basic"] == "1" && row["default1_true"] == "1";
        let has_name = named(&row["group"]) & bit != 0;
        // What is reserved to 1 is no control.
        assert_eq!(has_name, !always_1, "{} {}", row["group"], row["bit"]);
        if has_name {
            *listed.entry(row["group"].as_str()).or_default() |= bit;
        }
    }
    for (group, bits) in listed {
        assert_eq!(
            named(group),
            bits,
            "{group} has names that the table has not"
        );
    }
}

#[test]
fn default1_classes_are_those_that_software_offers() {
    let capabilities = Capabilities::software(Processor::new(40));
    for (group, basic, with_true) in [
        (
            "pin",
            capabilities.pinbased_ctls,
            capabilities.true_pinbased_ctls,
        ),
        (
            "primary",
            capabilities.procbased_ctls,
            capabilities.true_procbased_ctls,
        ),
        ("exit", capabilities.exit_ctls, capabilities.true_exit_ctls),
        (
            "entry",
            capabilities.entry_ctls,
            capabilities.true_entry_ctls,
        ),
    ] {
        let must = |column: &str| -> u64 {
            facts::rows("controls.tsv")
                .iter()
                .filter(|row| row["group"] == group && row[column] == "1")
                .map(|row| 1 << row["bit"].parse::<u32>().expect("a number"))
                .sum()
        };
        assert_eq!(basic & 0xffff_ffff, must("default1_basic"), "{group}");
        assert_eq!(
            with_true & 0xffff_ffff,
            must("default1_true"),
            "{group}, true"
        );
    }
}

#[test]
fn vm_instruction_errors() {
    let rows = facts::rows("vm_instruction_errors.tsv");
    assert_eq!(rows.len(), 28);
    for row in &rows {
        let number: u32 = row["number"].parse().expect("a number");
        let reserved = row["linux_name"] == "-";
        let error = InstructionError::from_number(number);
        assert_eq!(error.is_none(), reserved, "{number}");
        assert!(error.is_none_or(|error| error.number() == number));
    }
    assert_eq!(InstructionError::from_number(0), None);
    assert_eq!(InstructionError::from_number(29), None);
    assert_eq!(InstructionError::ALL.len(), 25);
}

#[test]
fn exit_reasons_keep_bit_31_apart() {
    let failed = ExitReason::ENTRY_FAILURE_GUEST_STATE.entry_failure();
    assert_eq!(failed.0, 0x8000_0021);
    assert!(failed.is_entry_failure() && !failed.basic().is_entry_failure());
    assert_eq!(failed.basic(), ExitReason::ENTRY_FAILURE_GUEST_STATE);
    assert_eq!(
        failed.to_string(),
        "ENTRY_FAILURE_GUEST_STATE (33), failed VM entry"
    );
    assert_eq!(ExitReason(35).to_string(), "exit reason 35");
}
