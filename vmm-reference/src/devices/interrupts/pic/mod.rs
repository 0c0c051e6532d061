// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The two 8259A interrupt controllers of a PC, the second behind line 2 of the first, with the
//! registers that choose between edge and level for each line.

mod chip;
#[cfg(test)]
mod tests;

use chip::{Chip, DEFAULT_LEVEL};

/// The ports of either chip, and of the registers that choose edge or level.
const MASTER: u16 = 0x20;
const MASTER_DATA: u16 = 0x21;
const SLAVE: u16 = 0xa0;
const SLAVE_DATA: u16 = 0xa1;
const MASTER_TRIGGER: u16 = 0x4d0;
const SLAVE_TRIGGER: u16 = 0x4d1;

/// The master's line that the slave is behind.
const CASCADE: u8 = 2;

/// How many lines a chip has, and both.
const CHIP_LINES: u8 = 8;
const LINES: u8 = 2 * CHIP_LINES;

/// The lines that can be level-triggered: not the timer, the keyboard and the cascade, and not the
/// clock and the coprocessor.
const MASTER_LEVEL_LINES: u8 = 0b1111_1000;
const SLAVE_LEVEL_LINES: u8 = 0b1101_1110;

/// Both PICs: 16 lines.
///
/// An edge is remembered until it is acknowledged, also where the line falls before: who raises an
/// interrupt may pulse its line. The same goes for the slave's request to the master, so that
/// what the slave takes back ends as its spurious interrupt, line 15.
#[derive(Clone, Debug)]
pub struct Pics {
    master: Chip,
    slave: Chip,
}

impl Pics {
    /// As after power-on: nothing is pending. The data sheet leaves the rest open; here no line is
    /// masked and the vectors begin at 0, so that a guest that sends no ICW1 can use them too.
    pub fn new() -> Self {
        Self {
            master: Chip::new(MASTER_LEVEL_LINES, 1 << CASCADE),
            slave: Chip::new(SLAVE_LEVEL_LINES, 0),
        }
    }

    /// Reads a port: 0x20, 0x21, 0xa0, 0xa1, 0x4d0 or 0x4d1. Others are all ones. The read after a
    /// poll command acknowledges.
    pub fn read(&mut self, port: u16) -> u8 {
        let value = match port {
            MASTER => self.master.poll().unwrap_or_else(|| self.master.status()),
            MASTER_DATA => self.master.poll().unwrap_or_else(|| self.master.mask()),
            SLAVE => self.poll_slave().unwrap_or_else(|| self.slave.status()),
            SLAVE_DATA => self.poll_slave().unwrap_or_else(|| self.slave.mask()),
            MASTER_TRIGGER => self.master.level_triggered(),
            SLAVE_TRIGGER => self.slave.level_triggered(),
            _ => u8::MAX,
        };
        self.cascade();
        value
    }

    /// Writes a port: 0x20, 0x21, 0xa0, 0xa1, 0x4d0 or 0x4d1. Others are ignored.
    pub fn write(&mut self, port: u16, value: u8) {
        match port {
            MASTER => self.master.write_command(value),
            MASTER_DATA => self.master.write_data(value),
            SLAVE => {
                self.slave.write_command(value);
                if !self.slave.is_initialised() {
                    // Its request falls: what it forgets shall not end as a spurious interrupt.
                    self.master.withdraw(CASCADE);
                }
            }
            SLAVE_DATA => self.slave.write_data(value),
            MASTER_TRIGGER => self.master.set_level_triggered(value),
            SLAVE_TRIGGER => self.slave.set_level_triggered(value),
            _ => {}
        }
        self.cascade();
    }

    /// Sets the level of line 0 to 15. Line 2, the cascade, and lines that do not exist are ignored.
    pub fn set_line(&mut self, line: u8, high: bool) {
        match line {
            CASCADE => {}
            0..CHIP_LINES => self.master.set_line(line, high),
            CHIP_LINES..LINES => self.slave.set_line(line - CHIP_LINES, high),
            _ => {}
        }
        self.cascade();
    }

    /// Whether INTR is raised: an acknowledgement now would give an interrupt.
    pub fn is_pending(&self) -> bool {
        self.master.request().is_some()
    }

    /// The vector that [`acknowledge`](Self::acknowledge) would return now, None if INTR is low.
    pub fn pending(&self) -> Option<u8> {
        Some(match self.master.request()? {
            CASCADE => {
                let level = self.slave.request().unwrap_or(DEFAULT_LEVEL);
                self.slave.vector(level)
            }
            level => self.master.vector(level),
        })
    }

    /// The processor's acknowledgement: gives the vector, and takes the request into service. Where
    /// no request is left it is the spurious one of the master, line 7, or of the slave, line
    /// 15; neither chip has that in service.
    pub fn acknowledge(&mut self) -> u8 {
        let vector = match self.master.acknowledge() {
            Some(CASCADE) => {
                let level = self.slave.acknowledge().unwrap_or(DEFAULT_LEVEL);
                self.slave.vector(level)
            }
            level => self.master.vector(level.unwrap_or(DEFAULT_LEVEL)),
        };
        self.cascade();
        vector
    }

    /// A poll is the slave's acknowledgement, with which its request to the master falls.
    fn poll_slave(&mut self) -> Option<u8> {
        let answer = self.slave.poll()?;
        self.master.withdraw(CASCADE);
        Some(answer)
    }

    /// The slave's request to the master. It is repeated after each acknowledgement and after the
    /// master's initialisation, for which no edge would come.
    fn cascade(&mut self) {
        if self.slave.request().is_some() {
            self.master.latch(CASCADE);
        }
    }
}

impl Default for Pics {
    fn default() -> Self {
        Self::new()
    }
}
