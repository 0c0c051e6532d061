// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the registers say, and what writing them does. What an access may be has been decided.

use super::LocalApic;
use super::lvt::{Entry, LAST_ENTRY};
use super::register::{Register, SPURIOUS_BITS};
use crate::devices::interrupts::now::Now;

/// An integrated APIC.
const VERSION: u32 = 0x14;

impl LocalApic {
    /// The timer must not be overdue.
    pub(super) fn read_register(&self, register: Register, now: Now) -> u32 {
        match register {
            Register::Id => self.id_register(),
            Register::Version => LAST_ENTRY << 16 | VERSION,
            Register::TaskPriority => self.task_priority.into(),
            Register::ArbitrationPriority => self.arbitration_priority().into(),
            Register::ProcessorPriority => self.processor_priority().into(),
            Register::LogicalDestination => self.logical_destination_register(),
            Register::DestinationFormat => self.destination_format,
            Register::Spurious => self.spurious,
            Register::InService(index) => self.in_service.word(index),
            Register::LevelTriggered(index) => self.level_triggered.word(index),
            Register::Requested(index) => self.requested.word(index),
            Register::ErrorStatus => self.errors.shown(),
            Register::CommandLow => self.command_low(),
            Register::CommandHigh => self.command_high(),
            Register::Local(entry) => self.table.read(entry),
            Register::InitialCount => self.timer.initial(),
            Register::CurrentCount => self.timer.current(now),
            Register::Divide => self.timer.divide(),
            Register::EndOfInterrupt | Register::RemoteRead | Register::SelfIpi => 0,
        }
    }

    /// The timer must not be overdue.
    pub(super) fn write_register(&mut self, register: Register, value: u32, now: Now) {
        let [byte, ..] = value.to_le_bytes();
        match register {
            Register::TaskPriority => self.task_priority = byte,
            Register::EndOfInterrupt => self.end_of_interrupt(),
            Register::LogicalDestination => self.set_logical_destination(value),
            Register::DestinationFormat => self.set_destination_format(value),
            Register::Spurious => self.set_spurious(value),
            Register::ErrorStatus => self.errors.show(),
            Register::CommandLow => self.set_command_low(value),
            Register::CommandHigh => self.set_command_high(value),
            Register::Local(entry) => self.set_local(entry, value),
            Register::InitialCount => self.timer.set_initial(value, now),
            Register::Divide => self.timer.set_divide(value, now),
            // The id could be written on some processors, and is not on others.
            Register::Id
            | Register::Version
            | Register::ArbitrationPriority
            | Register::ProcessorPriority
            | Register::RemoteRead
            | Register::InService(_)
            | Register::LevelTriggered(_)
            | Register::Requested(_)
            | Register::CurrentCount
            | Register::SelfIpi => {}
        }
    }

    fn set_spurious(&mut self, value: u32) {
        self.spurious = value & SPURIOUS_BITS;
        if !self.is_software_enabled() {
            self.table.mask_all();
        }
    }

    fn set_local(&mut self, entry: Entry, value: u32) {
        self.table.write(entry, value, self.is_software_enabled());
        if entry == Entry::Timer {
            self.timer.set_mode(value);
        }
    }
}
