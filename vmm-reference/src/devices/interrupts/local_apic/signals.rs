// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a local APIC tells its processor besides vectors.

/// Signals that have arrived since they were last taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// A non-maskable interrupt.
    pub nmi: bool,
    /// An INIT.
    pub init: bool,
    /// A start-up, and the number of the page to start at.
    pub start_up: Option<u8>,
    /// A system management interrupt.
    pub smi: bool,
}
