// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What happened so far, and whether it may happen.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Ask;

/// The record that the script, the handler and the end share.
#[derive(Clone, Default)]
pub(super) struct Events(Arc<Mutex<Record>>);

#[derive(Default)]
struct Record {
    pending: Vec<Ask>,
    exits: u64,
    answers: Vec<Vec<u8>>,
    end: AskedEnd,
    /// How often an immediate exit was asked for, and was told.
    immediate_exits: (u64, u64),
}

/// Whether the loop was given a reason to end.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum AskedEnd {
    #[default]
    No,
    Stop,
    Refusal,
}

impl Events {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `ask` is being made.
    pub(super) fn made(&self, ask: Ask) {
        // It leaves no bit: there is nothing to handle.
        if ask != Ask::Poke && !self.record().pending.contains(&ask) {
            self.record().pending.push(ask);
        }
    }

    /// `ask` is being handled.
    pub(super) fn handled(&self, ask: Ask) {
        let mut record = self.record();
        let before = record.pending.len();
        record.pending.retain(|&pending| pending != ask);
        assert_ne!(record.pending.len(), before, "{ask:?} was not made");
    }

    /// The guest does something: it was entered, so nothing may be pending.
    pub(super) fn guest_runs(&self) {
        let pending = self.record().pending.clone();
        assert!(pending.is_empty(), "entered with {pending:?} pending");
    }

    /// An immediate exit is being asked for.
    pub(super) fn immediate_exit_asked(&self) {
        self.record().immediate_exits.0 += 1;
    }

    /// The handler is told of an immediate exit. Several that are asked for before one entry are one.
    pub(super) fn immediate_exit_told(&self) {
        let mut record = self.record();
        record.immediate_exits.1 += 1;
        let (asked, told) = record.immediate_exits;
        assert!(
            told <= asked,
            "told {told} times of {asked} immediate exits"
        );
    }

    /// The exit with this number in the script has come.
    pub(super) fn exit(&self, number: u64) {
        let mut record = self.record();
        assert_eq!(record.exits, number, "an exit came twice or not at all");
        record.exits += 1;
    }

    pub(super) fn exits(&self) -> u64 {
        self.record().exits
    }

    pub(super) fn answered(&self, answer: &[u8]) {
        self.record().answers.push(answer.to_vec());
    }

    pub(super) fn answers(&self) -> Vec<Vec<u8>> {
        self.record().answers.clone()
    }

    pub(super) fn ask_stop(&self) {
        self.record().end = AskedEnd::Stop;
    }

    pub(super) fn refuse(&self) {
        self.record().end = AskedEnd::Refusal;
    }

    pub(super) fn stop_was_asked(&self) -> bool {
        self.record().end == AskedEnd::Stop
    }

    pub(super) fn was_refused(&self) -> bool {
        self.record().end == AskedEnd::Refusal
    }
}
