// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The local vector table: what the APIC's own interrupts do.

use crate::devices::interrupts::message::{DeliveryMode, vector_of};

const MODE: u32 = 0b111 << 8;
const MASKED: u32 = 1 << 16;
const VECTOR: u32 = 0xff;
/// The polarity and the trigger mode of a pin. They are remembered: pins rise, all of them.
const PIN: u32 = 1 << 13 | 1 << 15;
/// The timer's mode.
pub(super) const TIMER_MODE: u32 = 0b11 << 17;

/// The delivery status and the remote IRR, which cannot be written, but may.
const READ_ONLY: u32 = 1 << 12 | 1 << 14;

/// Pins as the firmware leaves them.
const EXT_INT: u32 = 0b111 << 8;
const NMI: u32 = 0b100 << 8;

/// An entry. There is no thermal sensor and there are no counters: nothing comes from theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Timer,
    Thermal,
    Performance,
    Lint0,
    Lint1,
    Error,
}

/// The number of the last entry.
pub(super) const LAST_ENTRY: u32 = Entry::Error as u32;

impl Entry {
    fn writable(self) -> u32 {
        VECTOR
            | MASKED
            | match self {
                Self::Timer => TIMER_MODE,
                Self::Thermal | Self::Performance => MODE,
                Self::Lint0 | Self::Lint1 => MODE | PIN,
                Self::Error => 0,
            }
    }

    /// The bits that may be set in what is written to an x2APIC.
    pub(super) fn permitted(self) -> u32 {
        self.writable() | READ_ONLY
    }
}

/// A pin of the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lint {
    /// The 8259's interrupts.
    Lint0,
    /// Non-maskable interrupts.
    Lint1,
}

impl Lint {
    pub(super) fn entry(self) -> Entry {
        match self {
            Self::Lint0 => Entry::Lint0,
            Self::Lint1 => Entry::Lint1,
        }
    }
}

/// The entries, and the levels of the pins.
#[derive(Clone, Copy, Debug)]
pub(super) struct VectorTable {
    entries: [u32; LAST_ENTRY as usize + 1],
    pins: [bool; 2],
}

impl VectorTable {
    pub(super) fn at_reset() -> Self {
        Self {
            entries: [MASKED; LAST_ENTRY as usize + 1],
            pins: [false; 2],
        }
    }

    pub(super) fn of_firmware() -> Self {
        let mut table = Self::at_reset();
        table.entries[Entry::Lint0 as usize] = EXT_INT;
        table.entries[Entry::Lint1 as usize] = NMI;
        table
    }

    /// What is left of it at a reset: the levels of the pins.
    pub(super) fn reset(self) -> Self {
        Self {
            pins: self.pins,
            ..Self::at_reset()
        }
    }

    pub(super) fn read(&self, entry: Entry) -> u32 {
        self.entries[entry as usize]
    }

    /// Writes an entry. While the APIC is disabled by software, it stays masked.
    pub(super) fn write(&mut self, entry: Entry, value: u32, software_enabled: bool) {
        let mask = if software_enabled { 0 } else { MASKED };
        self.entries[entry as usize] = value & entry.writable() | mask;
    }

    /// The APIC is disabled by software.
    pub(super) fn mask_all(&mut self) {
        for entry in &mut self.entries {
            *entry |= MASKED;
        }
    }

    pub(super) fn is_masked(&self, entry: Entry) -> bool {
        self.read(entry) & MASKED != 0
    }

    /// What an entry's interrupt does. `None`: nothing.
    pub(super) fn delivery(&self, entry: Entry) -> Option<(DeliveryMode, u8)> {
        if self.is_masked(entry) {
            return None;
        }
        let word = self.read(entry);
        match DeliveryMode::of_word(word)? {
            // Reserved here.
            DeliveryMode::LowestPriority | DeliveryMode::StartUp => None,
            mode => Some((mode, vector_of(word))),
        }
    }

    pub(super) fn lets_ext_int_through(&self) -> bool {
        matches!(self.delivery(Entry::Lint0), Some((DeliveryMode::ExtInt, _)))
    }

    /// Sets the level of a pin. Returns whether it rises.
    pub(super) fn rises(&mut self, pin: Lint, high: bool) -> bool {
        let before = std::mem::replace(&mut self.pins[pin as usize], high);
        high && !before
    }
}
