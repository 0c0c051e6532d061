// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! An interrupt controller: vectors wait, the highest is given first.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::l0::Interrupts;

/// Vectors that wait, and those that were acknowledged.
#[derive(Clone, Debug, Default)]
pub struct InterruptController {
    waiting: BTreeSet<u8>,
    acknowledged: Vec<u8>,
    masked: bool,
}

impl InterruptController {
    /// An interrupt arrives. As in a local APIC, a vector that waits already is not counted twice:
    /// returns whether it did not wait.
    pub fn raise(&mut self, vector: u8) -> bool {
        self.waiting.insert(vector)
    }

    /// Whether the task priority masks everything.
    pub const fn set_masked(&mut self, masked: bool) {
        self.masked = masked;
    }

    /// The vectors that were acknowledged, in order.
    pub fn acknowledged(&self) -> &[u8] {
        &self.acknowledged
    }

    /// Takes the list of the vectors that were acknowledged.
    pub fn take_acknowledged(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.acknowledged)
    }

    /// The vectors that wait, masked or not.
    pub fn vectors(&self) -> impl Iterator<Item = u8> {
        self.waiting.iter().copied()
    }

    /// How many wait, masked or not.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

impl Interrupts for InterruptController {
    fn pending(&self) -> Option<u8> {
        match self.masked {
            true => None,
            false => self.waiting.last().copied(),
        }
    }

    fn acknowledge(&mut self, vector: u8) {
        if self.waiting.remove(&vector) {
            self.acknowledged.push(vector);
        }
    }
}
