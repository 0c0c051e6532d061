// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What time it is, for devices that have no clock of their own.

/// A moment, as the guest's devices see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Nanoseconds since the machine started.
    pub nanoseconds: u64,
    /// The guest's TSC at that moment.
    pub tsc: u64,
}
