// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The rules of VM entry against `facts/entry_checks.tsv`.
#![allow(clippy::expect_used, clippy::panic, reason = "a test may")]

mod facts;

use std::collections::BTreeSet;

use nested_vmx::capability::{Capabilities, EptVpid, Processor};
use nested_vmx::check::{
    Allowed, EntryOutcome, EntryRequest, Failure, L1State, Phase, Rule, Subject, Violation,
};
use nested_vmx::ept::Eptp;
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::vmcs::{Field, KVM_REVISION, Vmcs};
use proptest::prelude::*;

/// Rules that are newer than the table.
const NEWER: [&str; 13] = [
    "hlat",
    "ept_paging",
    "ipi_virt",
    "timer_virt",
    "host_fred",
    "host_spec_ctrl",
    "g_rtit",
    "g_lbr",
    "g_pkrs",
    "g_uinv",
    "g_fred",
    "g_fred_cpl",
    "g_spec_ctrl",
];

#[test]
fn every_row_is_a_rule_in_its_place() {
    let rows = facts::rows("entry_checks.tsv");
    assert_eq!(rows.len(), 139);
    let newer: BTreeSet<&str> = NEWER.into_iter().collect();
    let mut ours = Rule::ALL.iter().filter(|rule| !newer.contains(rule.id()));
    for row in &rows {
        let rule = *ours.next().expect("as many rules as rows");
        assert_eq!(rule.id(), row["id"], "row {}", row["order"]);
        let phase = match row["phase"].as_str() {
            "basic" => Phase::Basic,
            "controls" => Phase::Controls,
            "host" => Phase::Host,
            "guest" => Phase::Guest,
            "msrload" => Phase::MsrLoad,
            other => panic!("{other}"),
        };
        assert_eq!(rule.phase(), phase, "{}", rule.id());
        assert_eq!(Rule::from_id(rule.id()), Some(rule));
        let failure = Failure {
            rule,
            violation: Violation {
                subject: Subject::CurrentVmcs,
                value: 0,
                allowed: Allowed::Exactly(0),
                qualification: 0,
            },
        };
        let outcome = match failure.outcome() {
            EntryOutcome::VmFailInvalid => "VMfailInvalid".to_owned(),
            EntryOutcome::VmFailValid(error) => format!("VMfail {}", error.number()),
            EntryOutcome::EntryFailure { reason, .. } => {
                assert!(reason.is_entry_failure());
                format!("exit {}", reason.basic().0)
            }
        };
        let expected = &row["outcome_if_violated"];
        assert!(
            expected.starts_with(&outcome),
            "{}: {outcome}, {expected}",
            rule.id()
        );
    }
    assert_eq!(ours.next(), None);
}

#[test]
fn phases_follow_each_other() {
    assert!(Rule::ALL.is_sorted_by_key(|rule| rule.phase()));
    let names: BTreeSet<&str> = Rule::ALL.iter().map(|rule| rule.id()).collect();
    assert_eq!(names.len(), Rule::ALL.len(), "names are different");
    for rule in Rule::ALL {
        assert!(rule.section().starts_with("28."), "{}", rule.id());
        assert!(!rule.requirement().ends_with('.'), "{}", rule.id());
    }
    assert_eq!(Rule::from_id("no such rule"), None);
    assert_eq!(
        ExitReason::ENTRY_FAILURE_MSR_LOADING.entry_failure().0,
        0x8000_0022
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// INVEPT and EPTP switching accept the EPT pointers that VM entries accept.
    #[test]
    fn one_rule_for_all_ept_pointers(page in 0_u64..1 << 42, low in 0_u64..0x1000, lacks in 0_u64..1 << 24) {
        let mut capabilities = Capabilities::software(Processor::new(40));
        capabilities.ept_vpid = EptVpid::from_bits_retain(capabilities.ept_vpid.bits() & !lacks);
        let eptp = page << 12 | low;
        let mut vmcs12 = Vmcs::new(KVM_REVISION);
        vmcs12.write(Field::CpuBasedVmExecControl, 1 << 31);
        vmcs12.write(Field::SecondaryVmExecControl, 1 << 1);
        vmcs12.write(Field::EptPointer, eptp);
        let request = EntryRequest::new(&capabilities, &vmcs12, L1State::new(0, 0, 0));
        let broken = request.check_all().rules();
        let is_broken = broken.iter().any(|rule| rule.id().starts_with("eptp_"));
        prop_assert_eq!(Eptp(eptp).check(&capabilities).is_err(), is_broken);
    }
}
