// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a vCPU's loop counts.

use std::array;
// Counters take no part in the protocol: they stay std's in a model, which keeps its state small.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::ExitKind;

/// A snapshot of a vCPU's counters. They only grow, and each is exact; between two of them a
/// snapshot may be torn while the vCPU runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Entries: times in guest mode, each with one call of KVM_RUN; an immediate exit counts as one,
    /// however often it is tried. Calls that only finish pending I/O do not count.
    pub entries: u64,
    /// Entries that were immediate exits and did take place.
    pub immediate_exits: u64,
    /// Entries that ended with EINTR.
    pub interrupted: u64,
    /// Kicks that were sent as a signal.
    pub kicks_sent: u64,
    /// Kicks that rode on one already under way to the same entry.
    pub kicks_coalesced: u64,
    /// Sleeping vCPUs woken.
    pub wake_ups: u64,
    /// Interrupted entries that nobody had kicked: the signal of a kick whose entry had ended by
    /// itself, or another signal.
    pub stray: u64,
    exits: [u64; ExitKind::COUNT],
}

impl Statistics {
    /// Exits of this kind.
    pub fn exits_of(&self, kind: ExitKind) -> u64 {
        self.exits.get(kind as usize).copied().unwrap_or_default()
    }

    /// Exits by kind, those that never happened left out.
    pub fn exits(&self) -> impl Iterator<Item = (ExitKind, u64)> + '_ {
        ExitKind::ALL
            .iter()
            .map(|&kind| (kind, self.exits_of(kind)))
            .filter(|&(_, count)| count != 0)
    }
}

/// Counters as the loop and the makers write them.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) entries: OwnCounter,
    pub(crate) immediate_exits: OwnCounter,
    pub(crate) interrupted: OwnCounter,
    pub(crate) stray: OwnCounter,
    exits: [OwnCounter; ExitKind::COUNT],
    pub(crate) kicks_sent: SharedCounter,
    pub(crate) kicks_coalesced: SharedCounter,
    pub(crate) wake_ups: SharedCounter,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            entries: OwnCounter::default(),
            immediate_exits: OwnCounter::default(),
            interrupted: OwnCounter::default(),
            stray: OwnCounter::default(),
            exits: array::from_fn(|_| OwnCounter::default()),
            kicks_sent: SharedCounter::default(),
            kicks_coalesced: SharedCounter::default(),
            wake_ups: SharedCounter::default(),
        }
    }

    pub(crate) fn count_exit(&self, kind: ExitKind) {
        if let Some(counter) = self.exits.get(kind as usize) {
            counter.count();
        }
    }

    pub(crate) fn snapshot(&self) -> Statistics {
        Statistics {
            entries: self.entries.get(),
            immediate_exits: self.immediate_exits.get(),
            interrupted: self.interrupted.get(),
            kicks_sent: self.kicks_sent.get(),
            kicks_coalesced: self.kicks_coalesced.get(),
            wake_ups: self.wake_ups.get(),
            stray: self.stray.get(),
            exits: array::from_fn(|index| self.exits.get(index).map_or(0, OwnCounter::get)),
        }
    }
}

/// A counter with one writer, the vCPU's thread: a load and a store, no locked instruction on the
/// way to the guest.
#[derive(Debug, Default)]
pub(crate) struct OwnCounter(AtomicU64);

impl OwnCounter {
    pub(crate) fn count(&self) {
        self.0.store(self.get().wrapping_add(1), Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A counter with many writers.
#[derive(Debug, Default)]
pub(crate) struct SharedCounter(AtomicU64);

impl SharedCounter {
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
