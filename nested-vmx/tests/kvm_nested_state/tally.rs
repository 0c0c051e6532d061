// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What came out.

use std::collections::BTreeMap;

use nested_vmx::kvm::{Errno, Judgement};

use crate::states::Given;

/// So many disagreements are told in full.
const SHOWN: usize = 20;

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
        self.add(format!(
            "{:?}: KVM says {found:?}, the judgement {refusals:?}\n{:x?}",
            given.kind, given.state
        ));
    }

    /// A state that was taken is kept.
    pub fn same(&mut self, given: &Given, kept: Result<(), String>) {
        if let Err(what) = kept {
            self.add(format!("{:?}: {what}\n{:x?}", given.kind, given.state));
        }
    }

    fn add(&mut self, text: String) {
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
        for text in self.disagreements.iter().take(SHOWN) {
            println!("{text}");
        }
        assert_eq!(self.disagreements.len(), 0, "disagreements");
        assert!(self.accepted > 0 && self.refused > 0, "all the same");
    }
}
