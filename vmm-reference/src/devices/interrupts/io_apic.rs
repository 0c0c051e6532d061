// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The I/O APIC: lines of devices become messages, as a table says (82093AA data sheet).
//!
//! Like other machines' it takes a line for high when its device asks for something: the table's
//! polarity is remembered and means nothing.

mod line;
#[cfg(test)]
mod tests;

use line::Line;

use super::message::InterruptMessage;
use super::register_bytes;

/// The two registers of the page, by their slots: which register, and that register.
const SELECT: u64 = 0;
const WINDOW: u64 = 1;

/// The registers behind the window. The table's come after them, two for each line.
const ID: u8 = 0;
const VERSION: u8 = 1;
const ARBITRATION: u8 = 2;
const TABLE: u8 = 0x10;

/// The bits of the id.
const ID_BITS: u32 = 0xf << 24;

/// The 82093AA's version. From 0x20 on there would be an EOI register.
const VERSION_NUMBER: u32 = 0x11;

/// An I/O APIC with 24 lines.
#[derive(Clone, Debug)]
pub struct IoApic {
    select: u8,
    id: u32,
    lines: [Line; Self::LINES as usize],
}

/// A register behind the window.
enum Register<'a> {
    Id,
    Version,
    TableLow(&'a mut Line),
    TableHigh(&'a mut Line),
}

impl IoApic {
    /// How many lines it has.
    pub const LINES: u8 = 24;

    /// As after reset: all lines are masked.
    pub fn new() -> Self {
        Self {
            select: 0,
            id: 0,
            lines: Default::default(),
        }
    }

    /// Reads from the page. `offset` counts from its begin.
    pub fn read(&mut self, offset: u64, data: &mut [u8]) {
        register_bytes::read(offset, data, |slot| match slot {
            SELECT => u32::from(self.select),
            WINDOW => self.read_selected(),
            _ => 0,
        });
    }

    /// Writes to the page. `offset` counts from its begin.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        // Which register can be said with one byte.
        if let (0, Some(&select)) = (offset, data.first()) {
            self.select = select;
        } else if let Some((WINDOW, value)) = register_bytes::written(offset, data) {
            self.write_selected(value);
        }
    }

    /// Sets the level of a line. Edge-triggered ones send when it rises, level-triggered ones as
    /// long as it is high and the last interrupt has ended.
    pub fn set_line(&mut self, line: u8, high: bool) {
        if let Some(line) = self.lines.get_mut(usize::from(line)) {
            line.set(high);
        }
    }

    /// The local APIC tells the end of a level-triggered interrupt. A line that is still high sends
    /// again.
    pub fn end(&mut self, vector: u8) {
        for line in &mut self.lines {
            line.end(vector);
        }
    }

    /// Takes the next message, that of the lowest line first. One that was not taken when its line
    /// sends again is the same message.
    pub fn take_message(&mut self) -> Option<InterruptMessage> {
        self.lines.iter_mut().find_map(Line::take_message)
    }

    fn selected(&mut self) -> Option<Register<'_>> {
        let index = match self.select {
            // The id of the arbitration is the id.
            ID | ARBITRATION => return Some(Register::Id),
            VERSION => return Some(Register::Version),
            other => other.checked_sub(TABLE)?,
        };
        let line = self.lines.get_mut(usize::from(index / 2))?;
        Some(if index % 2 == 0 {
            Register::TableLow(line)
        } else {
            Register::TableHigh(line)
        })
    }

    fn read_selected(&mut self) -> u32 {
        let id = self.id;
        match self.selected() {
            Some(Register::Id) => id,
            Some(Register::Version) => u32::from(Self::LINES - 1) << 16 | VERSION_NUMBER,
            Some(Register::TableLow(line)) => line.low(),
            Some(Register::TableHigh(line)) => line.high(),
            None => 0,
        }
    }

    fn write_selected(&mut self, value: u32) {
        if self.select == ID {
            self.id = value & ID_BITS;
            return;
        }
        match self.selected() {
            Some(Register::TableLow(line)) => line.set_low(value),
            Some(Register::TableHigh(line)) => line.set_high(value),
            Some(Register::Id | Register::Version) | None => {}
        }
    }
}

impl Default for IoApic {
    fn default() -> Self {
        Self::new()
    }
}
