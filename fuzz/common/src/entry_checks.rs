// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The checks of VM entries, from both sides of the edge: valid states, states that break one rule,
//! and states with some bytes overwritten at random.
//!
//! The first byte of the input chooses capabilities, the second one a rule, and the others make the
//! state. Valid states are accepted, broken ones refused for the rule that was broken; whatever the
//! state, the first violation is the first of all.

mod hosts;

use arbitrary::Unstructured;
use nested_vmx::check::Rule;
use nested_vmx::generate::{Scenario, inseparable_from};
use nested_vmx::vmcs::REGION_SIZE;

/// Makes states from `data` and checks them.
pub fn run(data: &[u8]) {
    let [host, rule, choices @ ..] = data else {
        return;
    };
    let capabilities = hosts::host(*host);
    let mut u = Unstructured::new(choices);
    // Two numbers more than there are rules: any valid state, and a VMCS of any bytes.
    let which = usize::from(*rule) % (Rule::ALL.len() + 2);
    let Some(rule) = Rule::ALL.get(which).copied() else {
        let is_valid = which == Rule::ALL.len();
        if let Some(mut scenario) = Scenario::arbitrary(&capabilities, &mut u) {
            if is_valid {
                assert_eq!(violated(&scenario), [], "{scenario:#x?}");
            } else {
                fill(scenario.vmcs12.as_bytes_mut(), choices);
            }
            disturb(scenario, &mut u);
        }
        return;
    };
    let Some(valid) = Scenario::before_breaking(rule, &capabilities, &mut u) else {
        return;
    };
    assert_eq!(
        violated(&valid),
        [],
        "before {rule:?} is broken: {valid:#x?}"
    );
    if let Some(broken) = valid.break_rule(rule, &mut u) {
        let violated = violated(&broken);
        assert!(violated.contains(&rule), "{rule:?}: {violated:?}");
        let is_expected = |other: &Rule| *other == rule || inseparable_from(rule).contains(other);
        assert!(
            violated.iter().all(is_expected),
            "{rule:?}: {violated:?}, {broken:#x?}"
        );
        disturb(broken, &mut u);
    }
}

/// All rules that the state violates.
fn violated(scenario: &Scenario) -> Vec<Rule> {
    let request = scenario.request();
    let all: Vec<_> = request.check_all().rules().iter().collect();
    let first = request.check().err().map(|failure| failure.rule);
    assert_eq!(first, all.first().copied(), "{all:?}");
    all
}

/// Fills all of `region` with `bytes`, again and again.
fn fill(region: &mut [u8; REGION_SIZE], bytes: &[u8]) {
    for (to, from) in region.iter_mut().zip(bytes.iter().cycle()) {
        *to = *from;
    }
}

/// Overwrites some bytes of the VMCS with what is left of the input. Nothing is known about the
/// outcome, but that there is one.
fn disturb(mut scenario: Scenario, u: &mut Unstructured<'_>) {
    while let Ok([high, low, value]) = u.arbitrary::<[u8; 3]>()
        && !u.is_empty()
    {
        let at = usize::from(u16::from_be_bytes([high, low])) % REGION_SIZE;
        scenario.vmcs12.as_bytes_mut()[at] = value;
    }
    violated(&scenario);
}
