// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The error status register: what is detected is shown after the guest writes the register.

/// The guest sends an interrupt with a vector below 16.
pub(super) const SENT_ILLEGAL_VECTOR: u32 = 1 << 5;
/// A message or an entry of the local vector table has such a vector.
pub(super) const RECEIVED_ILLEGAL_VECTOR: u32 = 1 << 6;
/// The guest accesses a register that is not there.
pub(super) const ILLEGAL_REGISTER: u32 = 1 << 7;

/// What was detected, and what is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Errors {
    detected: u32,
    shown: u32,
}

impl Errors {
    /// Notes an error. Returns whether it is the first one since the register was written.
    pub(super) fn detect(&mut self, error: u32) -> bool {
        let first = self.detected == 0;
        self.detected |= error;
        first
    }

    /// The register.
    pub(super) fn shown(&self) -> u32 {
        self.shown
    }

    /// A write to the register, of whatever value.
    pub(super) fn show(&mut self) {
        self.shown = std::mem::take(&mut self.detected);
    }
}
