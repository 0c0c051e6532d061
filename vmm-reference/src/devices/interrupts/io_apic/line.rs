// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One line of the I/O APIC with its entry of the redirection table.

use crate::devices::interrupts::message::{DeliveryMode, InterruptMessage, vector_of};

/// The low word of an entry.
const LOGICAL: u32 = 1 << 11;
const REMOTE_IRR: u32 = 1 << 14;
const LEVEL: u32 = 1 << 15;
const MASKED: u32 = 1 << 16;
/// What can be written: the vector, the modes, the polarity, the trigger and the mask.
const WRITABLE_LOW: u32 = 0xff | 0b111 << 8 | LOGICAL | 1 << 13 | LEVEL | MASKED;

/// The high word of an entry: the destination.
const DESTINATION_SHIFT: u32 = 24;
const WRITABLE_HIGH: u32 = 0xff << DESTINATION_SHIFT;

/// A line, its entry, and the message that it has sent.
#[derive(Clone, Debug)]
pub(super) struct Line {
    asserted: bool,
    low: u32,
    high: u32,
    message: Option<InterruptMessage>,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            asserted: false,
            low: MASKED,
            high: 0,
            message: None,
        }
    }
}

impl Line {
    /// The low word of the entry. The delivery status is always idle.
    pub(super) fn low(&self) -> u32 {
        self.low
    }

    pub(super) fn high(&self) -> u32 {
        self.high
    }

    pub(super) fn set_low(&mut self, value: u32) {
        self.low = value & WRITABLE_LOW | self.low & REMOTE_IRR;
        // Systems make an entry edge-triggered for a moment to end an interrupt by force.
        if !self.is_level_triggered() {
            self.low &= !REMOTE_IRR;
        }
        self.send_level();
    }

    pub(super) fn set_high(&mut self, value: u32) {
        self.high = value & WRITABLE_HIGH;
    }

    pub(super) fn set(&mut self, asserted: bool) {
        let rises = asserted && !self.asserted;
        self.asserted = asserted;
        if self.is_level_triggered() {
            self.send_level();
        } else if rises {
            // A masked edge is lost.
            self.send();
        }
    }

    pub(super) fn end(&mut self, vector: u8) {
        if self.low & REMOTE_IRR != 0 && vector_of(self.low) == vector {
            self.low &= !REMOTE_IRR;
            self.send_level();
        }
    }

    pub(super) fn take_message(&mut self) -> Option<InterruptMessage> {
        self.message.take()
    }

    /// What has no vector is an edge, whatever the trigger mode says: nobody would tell its end.
    fn is_level_triggered(&self) -> bool {
        self.low & LEVEL != 0
            && DeliveryMode::of_word(self.low).is_some_and(DeliveryMode::has_vector)
    }

    fn send_level(&mut self) {
        if self.is_level_triggered() && self.asserted && self.low & REMOTE_IRR == 0 {
            self.send();
        }
    }

    fn send(&mut self) {
        let mode = match DeliveryMode::of_word(self.low) {
            // What starts processors cannot come from a line.
            None | Some(DeliveryMode::StartUp) => return,
            Some(mode) => mode,
        };
        if self.low & MASKED != 0 {
            return;
        }
        let level_triggered = self.is_level_triggered();
        if level_triggered {
            self.low |= REMOTE_IRR;
        }
        self.message = Some(InterruptMessage {
            destination: self.high >> DESTINATION_SHIFT,
            logical: self.low & LOGICAL != 0,
            mode,
            vector: vector_of(self.low),
            level_triggered,
        });
    }
}
