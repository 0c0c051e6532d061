// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The books: how often each event came, and where it went.

use alloc::collections::BTreeMap;

use thiserror::Error;

use crate::interruption::Event;
use crate::l0::SnapshotError;

/// What is not as it must be.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Violation {
    /// An event came as often as the first number says, and is accounted for as often as the
    /// second.
    #[error("{event:?} came {came} times and was seen {seen} times")]
    Count {
        /// The event.
        event: Event,
        /// How often it came.
        came: u64,
        /// How often it was delivered, reported, withdrawn, or still waits.
        seen: u64,
    },
    /// L1 has an exit of an L2 that was not entered.
    #[error("L2 exits to L1 before it was entered")]
    NotEntered,
    /// An entry is pending after an exit.
    #[error("an entry is pending while an exit is handled")]
    PendingInHandler,
    /// Immediate exits that bring nothing.
    #[error("immediate exits follow each other without end")]
    EndlessImmediateExits,
    /// L2 is active without a current VMCS that was launched.
    #[error("L2 is active, and its VMCS is not current or not launched")]
    NoCurrentVmcs,
    /// An event is to be injected, and there is no L2.
    #[error("an event is on its way into an L2 that is not active")]
    InjectionWithoutL2,
    /// A state that was saved cannot be restored.
    #[error("a saved state is refused: {0}")]
    SnapshotRefused(SnapshotError),
    /// A state that was restored is another one than was saved.
    #[error("a restored state is not the one that was saved")]
    SnapshotChanged,
}

/// The books.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    came: BTreeMap<Key, u64>,
    went: BTreeMap<Key, u64>,
}

/// What tells events apart: the interruption information, and the error code.
type Key = (u32, u32);

const fn key(event: Event) -> Key {
    let code = match event.error_code {
        Some(code) => code,
        None => 0,
    };
    (event.information(), code)
}

impl Ledger {
    /// An event has to be delivered.
    pub fn came(&mut self, event: Event) {
        *self.came.entry(key(event)).or_default() += 1;
    }

    /// It was delivered, or reported as not delivered.
    pub fn went(&mut self, event: Event) {
        *self.went.entry(key(event)).or_default() += 1;
    }

    /// It is no longer to be delivered, and L1 knows that.
    pub fn withdrawn(&mut self, event: Option<Event>) {
        if let Some(event) = event {
            self.went(event);
        }
    }

    /// What came must have gone, or still be there. Exceptions that L0 raised are not in the books.
    pub fn check(
        &self,
        injection: Option<Event>,
        nmi: bool,
        interrupts: impl IntoIterator<Item = u8>,
    ) -> Result<(), Violation> {
        let mut there: BTreeMap<Key, u64> = BTreeMap::new();
        let waiting = interrupts.into_iter().map(Event::external_interrupt);
        let events = waiting.chain(injection).chain(nmi.then_some(Event::NMI));
        for event in events {
            *there.entry(key(event)).or_default() += 1;
        }
        let count = |books: &BTreeMap<Key, u64>, key| books.get(key).copied().unwrap_or(0);
        for (key, &came) in &self.came {
            let seen = count(&self.went, key) + count(&there, key);
            if came != seen {
                let event = Event::from_fields(key.0, key.1, 0).unwrap_or(Event::NMI);
                return Err(Violation::Count { event, came, seen });
            }
        }
        Ok(())
    }
}
