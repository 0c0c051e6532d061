// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Each rule of a VM entry in both directions: a generated state that breaks only it is refused for
//! it, and accepted when it is mended.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test that fails panics.

mod common;

use std::collections::BTreeMap;

use arbitrary::Unstructured;
use common::{bytes, parts, sets};
use nested_vmx::capability::{Capabilities, Features, Part};
use nested_vmx::check::{EntryRequest, L1State, Rule, Subject};
use nested_vmx::generate::{Scenario, inseparable_from};
use nested_vmx::vmcs::{Field, REGION_SIZE};
use proptest::prelude::*;

/// Enough for any state.
const LENGTH: usize = 2048;

/// In so many states at least each rule must have been broken.
const ENOUGH: u32 = 10;

/// How many states each rule is broken in, for each of the capabilities.
const SEEDS: u64 = 60;

fn violated(scenario: &Scenario) -> Vec<Rule> {
    let request = scenario.request();
    let all: Vec<_> = request.check_all().map(|failure| failure.rule).collect();
    let first = request.check().err().map(|failure| failure.rule);
    assert_eq!(
        first,
        all.first().copied(),
        "the first one is the first of all"
    );
    all
}

/// What came of breaking a rule in one generated state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// It was broken, and no other.
    Alone,
    /// It was broken along with rules that are inseparable from it.
    WithOthers,
}

/// Breaks the rule in one generated state, if that is possible.
fn break_one(name: &str, capabilities: &Capabilities, rule: Rule, seed: u64) -> Option<Broken> {
    let bytes = bytes(seed, LENGTH);
    let mut u = Unstructured::new(&bytes);
    let valid = Scenario::before_breaking(rule, capabilities, &mut u)?;
    let context = format!("{name}, {rule:?}, seed {seed}");
    assert_eq!(violated(&valid), [], "{context}, before: {valid:#x?}");
    let broken = valid.break_rule(rule, &mut u)?;
    let violated = violated(&broken);
    assert!(
        violated.contains(&rule),
        "{context}: not refused for it, but {violated:?}"
    );
    let others: Vec<_> = violated
        .into_iter()
        .filter(|other| *other != rule)
        .collect();
    let is_expected = others
        .iter()
        .all(|other| inseparable_from(rule).contains(other));
    assert!(is_expected, "{context}: {others:?}, {:#x?}", broken.vmcs12);
    mend(&context, broken, rule);
    Some(match others.is_empty() {
        true => Broken::Alone,
        false => Broken::WithOthers,
    })
}

/// Does what the verdict says would not break the rule, as often as it says so: a rule can be about
/// several fields. Then the rule is kept.
fn mend(context: &str, mut broken: Scenario, rule: Rule) {
    for _ in 0..8 {
        let Some(failure) = broken.request().check_rule(rule) else {
            return;
        };
        let Subject::Field(field) = failure.violation.subject else {
            return;
        };
        let Some(good) = failure.violation.allowed.nearest(failure.violation.value) else {
            return;
        };
        broken.vmcs12.write(field, good);
    }
    panic!("{context}: what the verdict allows is refused");
}

#[test]
fn each_rule_is_broken_alone() {
    let mut alone: BTreeMap<Rule, u32> = BTreeMap::new();
    let mut with_others: BTreeMap<Rule, u32> = BTreeMap::new();
    let mut reached: BTreeMap<&str, usize> = BTreeMap::new();
    for &(name, capabilities) in sets() {
        for &rule in Rule::ALL {
            let broken: Vec<_> = (0..SEEDS)
                .filter_map(|seed| break_one(name, &capabilities, rule, seed))
                .collect();
            *reached.entry(name).or_default() += usize::from(!broken.is_empty());
            for outcome in broken {
                let counts = match outcome {
                    Broken::Alone => &mut alone,
                    Broken::WithOthers => &mut with_others,
                };
                *counts.entry(rule).or_default() += 1;
            }
        }
    }
    for &rule in Rule::ALL {
        let [alone, with_others] =
            [&alone, &with_others].map(|counts| counts.get(&rule).copied().unwrap_or(0));
        match rule {
            // Never alone: see the table of inseparable rules.
            Rule::Ia32eLma => assert!(alone == 0 && with_others >= ENOUGH, "{rule:?}"),
            _ => assert!(alone >= ENOUGH, "{rule:?}: {alone}"),
        }
        let is_separable = inseparable_from(rule).is_empty();
        assert_eq!(
            is_separable,
            with_others == 0,
            "{rule:?}: is it in the table?"
        );
    }
    // Where fewer rules can be broken, capabilities are missing that they are about.
    let expected = [
        ("bare", 96),
        ("everything", 147),
        ("narrow addresses", 122),
        ("observed", 123),
        ("plain", 121),
        ("simple EPT", 128),
        ("software", 127),
    ];
    assert_eq!(reached, expected.into(), "of {} rules", Rule::ALL.len());
}

/// The rules that were found by looking at hypervisors: the list is not shorter than that, and has
/// nothing twice.
#[test]
fn the_rules_are_those_of_the_table() {
    let ids: Vec<_> = include_str!("facts/entry_checks.tsv")
        .lines()
        .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()))
        .map(|line| line.split('\t').nth(2).unwrap())
        .collect();
    assert_eq!(ids.len(), 139);
    for id in ids {
        assert!(Rule::from_id(id).is_some(), "{id}");
    }
}

/// Vector 21 has no error code for an L1 that does not know CET, and has one on a host with CET, unless
/// IA32_VMX_BASIC[56] lets it do as it likes. Processors have that bit since they have CET; these sets
/// are put together.
fn hides_control_protection(narrow: &Capabilities, host: &Capabilities, made: &Scenario) -> bool {
    let has_cet = |of: &Capabilities| of.processor.has(Features::CET_SS.union(Features::CET_IBT));
    let vector = made.vmcs12.vm_entry_intr_info_field() & 0xff;
    vector == 21 && has_cet(host) && !has_cet(narrow) && !host.basic.has_free_error_code()
}

#[test]
fn an_l1_without_cet_is_refused_where_the_host_wants_an_error_code() {
    let (_, host) = sets()[5];
    let part = Part::Features(Features::CET_SS.union(Features::CET_IBT));
    let narrow = host.narrow().without(part).unwrap().build().unwrap();
    let mut scenario = Scenario::arbitrary(&narrow, &mut Unstructured::new(&[])).unwrap();
    // A hardware exception.
    let injected = 0x8000_0300 | 21;
    scenario.vmcs12.write(Field::VmEntryIntrInfoField, injected);
    assert!(!violated(&scenario).contains(&Rule::InjectedErrorCodeVector));
    scenario.capabilities = host;
    assert!(hides_control_protection(&narrow, &host, &scenario));
    assert!(violated(&scenario).contains(&Rule::InjectedErrorCodeVector));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn what_is_generated_is_accepted(
        which in 0..sets().len(),
        bytes in proptest::collection::vec(any::<u8>(), 0..LENGTH),
    ) {
        let (name, capabilities) = sets()[which];
        let scenario = Scenario::arbitrary(&capabilities, &mut Unstructured::new(&bytes)).unwrap();
        prop_assert_eq!(violated(&scenario), [], "{}: {:#x?}", name, scenario);
    }
    /// What L1 was given is enough, and the host can give it: a state that narrowed capabilities
    /// accept is accepted by those that they were narrowed from.
    #[test]
    fn what_narrowed_capabilities_accept_is_accepted_by_the_host(
        which in 0..sets().len(),
        parts in proptest::collection::vec(parts(), 0..10),
        bytes in proptest::collection::vec(any::<u8>(), 0..LENGTH),
    ) {
        let (name, host) = sets()[which];
        let mut builder = host.narrow();
        for part in parts {
            builder = builder.without(part).unwrap_or(builder);
        }
        let Ok(narrow) = builder.build() else { return Ok(()) };
        let made = Scenario::arbitrary(&narrow, &mut Unstructured::new(&bytes));
        let mut scenario = made.expect("there is a state for any capabilities of a processor");
        prop_assert_eq!(violated(&scenario), [], "{}, {:#x?}: {:#x?}", name, narrow, scenario);
        scenario.capabilities = host;
        let mut broken = violated(&scenario);
        if hides_control_protection(&narrow, &host, &scenario) {
            broken.retain(|rule| *rule != Rule::InjectedErrorCodeVector);
        }
        prop_assert_eq!(broken, [], "{}, {:#x?}: {:#x?}", name, narrow, scenario);
    }

    /// Whatever is in the VMCS, there is a verdict: `violated` looks at it from both ends.
    #[test]
    fn any_bytes_get_a_verdict(
        which in 0..sets().len(),
        region in proptest::collection::vec(any::<u8>(), REGION_SIZE),
        l1 in any::<[u64; 3]>(),
    ) {
        let (_, capabilities) = sets()[which];
        let mut scenario = Scenario::arbitrary(&capabilities, &mut Unstructured::new(&[])).unwrap();
        scenario.vmcs12.as_bytes_mut().copy_from_slice(&region);
        let [cr0, cr4, efer] = l1;
        scenario.l1 = L1State::new(cr0, cr4, efer);
        let violated = violated(&scenario);
        // Random controls are never right: reserved bits are too many.
        prop_assert!(violated.contains(&Rule::PinAllowed) || violated.contains(&Rule::PrimaryAllowed));
        let request = EntryRequest {
            memory: None,
            msrs: None,
            ..scenario.request()
        };
        // Without memory, fewer rules can be broken.
        prop_assert!(request.check_all().all(|failure| violated.contains(&failure.rule)));
    }
}
