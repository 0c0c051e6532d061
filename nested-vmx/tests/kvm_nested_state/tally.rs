// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What came out.

use std::collections::BTreeMap;

use nested_vmx::kvm::{Errno, Judgement, NestedState};
use nested_vmx::vmcs::Field;

use crate::states::Given;

/// So many disagreements are told.
const TOLD: usize = 200;

/// So many of them with the whole state.
const SHOWN: usize = 5;

#[derive(Default)]
pub struct Tally {
    pub accepted: u64,
    pub refused: u64,
    known: BTreeMap<&'static str, u64>,
    disagreements: Vec<String>,
}

impl Tally {
    pub fn known(&mut self, reason: &'static str) {
        *self.known.entry(reason).or_default() += 1;
    }

    pub fn disagree(&mut self, given: &Given, judgement: &Judgement, found: &Result<(), Errno>) {
        let refusals: Vec<String> = judgement
            .refusals()
            .iter()
            .map(ToString::to_string)
            .collect();
        self.add(
            given,
            &format!("KVM says {found:?}, the judgement {refusals:?}"),
        );
    }

    pub fn add(&mut self, given: &Given, what: &str) {
        let state = match self.disagreements.len() {
            at if at < SHOWN => format!("{:x?}", given.state),
            _ => String::new(),
        };
        let text = format!(
            "{:?}, SMM {}: {what}\n    {state}",
            given.kind, given.in_smm
        );
        self.disagreements.push(text);
    }

    /// Tells it all, and fails if there is anything that is not known.
    pub fn finish(self) {
        println!(
            "{} states accepted by both, {} refused by both",
            self.accepted, self.refused
        );
        for (reason, count) in &self.known {
            println!("{count} known differences: {reason}");
        }
        for text in self.disagreements.iter().take(TOLD) {
            println!("{text}");
        }
        assert_eq!(self.disagreements.len(), 0, "disagreements");
        assert!(self.accepted > 0 && self.refused > 0, "all the same");
    }
}

/// The fields of vmcs12 that differ between two states.
pub fn changed(first: &NestedState, second: &NestedState) -> Vec<Field> {
    let (Some(one), Some(other)) = (first.vmcs12(), second.vmcs12()) else {
        return Vec::new();
    };
    let differs = |field: &Field| one.read(*field) != other.read(*field);
    Field::ALL.iter().copied().filter(differs).collect()
}

/// What differs between two states, in words.
pub fn changes(first: &NestedState, second: &NestedState) -> String {
    let value = |state: &NestedState, field| state.vmcs12().map_or(0, |vmcs12| vmcs12.read(field));
    let fields: Vec<String> = changed(first, second)
        .into_iter()
        .map(|field| {
            let [one, other] = [first, second].map(|state| value(state, field));
            format!("{} {one:#x} became {other:#x}", field.name())
        })
        .collect();
    match fields.is_empty() {
        true => "something beside vmcs12's fields".to_owned(),
        false => fields.join(", "),
    }
}
