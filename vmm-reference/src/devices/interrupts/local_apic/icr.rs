// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The interrupt command register. There is nobody to send to but the processor itself, so all is
//! delivered at once and the delivery status is always idle.

use super::{FIRST_VECTOR, LocalApic, errors};
use crate::devices::interrupts::message::{DeliveryMode, vector_of};

const LOGICAL: u32 = 1 << 11;
const ASSERT: u32 = 1 << 14;
const LEVEL: u32 = 1 << 15;
const SHORTHAND_SHIFT: u32 = 18;

/// What can be written of the low word: all but the delivery status and reserved bits.
pub(super) const WRITABLE_LOW: u32 = 0x000c_cfff;
/// The high word of an xAPIC: the destination.
const WRITABLE_HIGH: u32 = 0xff << XAPIC_DESTINATION_SHIFT;
const XAPIC_DESTINATION_SHIFT: u32 = 24;

impl LocalApic {
    pub(super) fn command_low(&self) -> u32 {
        let [low, _] = halves(self.command);
        low
    }

    pub(super) fn command_high(&self) -> u32 {
        let [_, high] = halves(self.command);
        high
    }

    /// xAPIC: where the next interrupt goes.
    pub(super) fn set_command_high(&mut self, value: u32) {
        self.set_command(self.command_low(), value & WRITABLE_HIGH);
    }

    /// xAPIC: sends.
    pub(super) fn set_command_low(&mut self, value: u32) {
        self.set_command(value & WRITABLE_LOW, self.command_high());
        self.send(self.command_high() >> XAPIC_DESTINATION_SHIFT);
    }

    /// x2APIC: sends.
    pub(super) fn set_whole_command(&mut self, value: u64) {
        let [low, high] = halves(value);
        self.set_command(low & WRITABLE_LOW, high);
        self.send(high);
    }

    /// x2APIC's SELF IPI register, and the interrupts of the interrupt command register.
    pub(super) fn send_to_itself(&mut self, mode: DeliveryMode, vector: u8) {
        if mode.has_vector() && vector < FIRST_VECTOR {
            self.report(errors::SENT_ILLEGAL_VECTOR);
        } else {
            // The trigger mode has no meaning for these.
            self.deliver(mode, vector, false);
        }
    }

    fn set_command(&mut self, low: u32, high: u32) {
        self.command = u64::from(high) << 32 | u64::from(low);
    }

    fn send(&mut self, destination: u32) {
        let command = self.command_low();
        let mode = match DeliveryMode::of_word(command) {
            None | Some(DeliveryMode::ExtInt) => return,
            // The end of an INIT, which processors without an APIC bus ignore.
            Some(DeliveryMode::Init) if command & (LEVEL | ASSERT) == LEVEL => return,
            Some(mode) => mode,
        };
        let vector = vector_of(command);
        let for_itself = match command >> SHORTHAND_SHIFT & 0b11 {
            0 => self.is_addressed(destination, command & LOGICAL != 0),
            // Itself, and all.
            1 | 2 => true,
            // All the others.
            _ => false,
        };
        if for_itself {
            self.send_to_itself(mode, vector);
        } else if mode.has_vector() && vector < FIRST_VECTOR {
            self.report(errors::SENT_ILLEGAL_VECTOR);
        }
    }
}

/// The low and the high word.
fn halves(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [[a, b, c, d], [e, f, g, h]].map(u32::from_le_bytes)
}
