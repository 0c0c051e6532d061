// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What waits for the virtual processor. External interrupts are not here: they wait in the
//! interrupt controller.

use super::exception::PendingException;

/// Events that wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PendingEvents {
    /// An INIT signal.
    pub init: bool,
    /// A start-up IPI with this vector.
    pub sipi: Option<u8>,
    /// A system-management interrupt.
    pub smi: bool,
    /// A non-maskable interrupt.
    pub nmi: bool,
    /// The guest is shut down by a triple fault.
    pub triple_fault: bool,
    /// A monitor-trap-flag VM exit.
    pub monitor_trap: bool,
    /// An exception of L2's.
    pub exception: Option<PendingException>,
}
