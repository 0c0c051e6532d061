// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One 8259A (Intel's data sheet 231468), as it is used beside an 8086 and its descendants.
//!
//! The wiring is fixed: what ICW3 says of it is ignored, as are buffered mode and the 8080's way of
//! giving vectors. ICW1's choice between edge and level is replaced by a register per line.

/// What an acknowledgement gives where no request is left.
pub(super) const DEFAULT_LEVEL: u8 = 7;

/// Bits 0 to 2 of OCW2, and of what counts levels.
const LEVEL_BITS: u8 = 0b111;

/// ICW1, told from OCW2 and OCW3 by bit 4. Bit 0: ICW4 follows. Bit 1: a single chip, no ICW3.
const ICW1: u8 = 1 << 4;
const ICW1_NEEDS_ICW4: u8 = 1 << 0;
const ICW1_SINGLE: u8 = 1 << 1;

/// ICW2: the vectors' upper bits.
const ICW2_VECTOR: u8 = !LEVEL_BITS;

const ICW4_AUTO_EOI: u8 = 1 << 1;
const ICW4_SPECIAL_FULLY_NESTED: u8 = 1 << 4;

/// OCW2, bits 5 to 7.
const OCW2_COMMAND_SHIFT: u8 = 5;

/// OCW3, told from OCW2 by bit 3. Each choice has a bit that says that it is made.
const OCW3: u8 = 1 << 3;
const OCW3_READ_IN_SERVICE: u8 = 1 << 0;
const OCW3_SELECTS_READ: u8 = 1 << 1;
const OCW3_POLL: u8 = 1 << 2;
const OCW3_SPECIAL_MASK: u8 = 1 << 5;
const OCW3_SELECTS_SPECIAL_MASK: u8 = 1 << 6;

/// In a poll's answer: there was a request.
const POLL_REQUEST: u8 = 1 << 7;

/// Which word the data port takes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expects {
    Icw2,
    Icw3,
    Icw4,
    /// The mask: the chip is initialised.
    Ocw1,
}

#[derive(Clone, Debug)]
pub(super) struct Chip {
    /// The lines that can be level-triggered, those that are, and those with a slave behind them.
    can_be_level: u8,
    level_triggered: u8,
    slaves: u8,

    /// The lines' levels, and the edges that were not acknowledged.
    lines: u8,
    edges: u8,
    in_service: u8,
    mask: u8,

    expects: Expects,
    needs_icw3: bool,
    needs_icw4: bool,
    vectors: u8,
    auto_eoi: bool,
    special_fully_nested: bool,

    /// The level of the lowest priority. The one after it has the highest.
    lowest: u8,
    rotates_on_auto_eoi: bool,
    special_mask: bool,
    reads_in_service: bool,
    polled: bool,
}

impl Chip {
    pub(super) fn new(can_be_level: u8, slaves: u8) -> Self {
        Self {
            can_be_level,
            level_triggered: 0,
            slaves,
            lines: 0,
            edges: 0,
            in_service: 0,
            mask: 0,
            expects: Expects::Ocw1,
            needs_icw3: false,
            needs_icw4: false,
            vectors: 0,
            auto_eoi: false,
            special_fully_nested: false,
            lowest: DEFAULT_LEVEL,
            rotates_on_auto_eoi: false,
            special_mask: false,
            reads_in_service: false,
            polled: false,
        }
    }

    pub(super) fn set_line(&mut self, level: u8, high: bool) {
        let bit = bit(level);
        if !high {
            self.lines &= !bit;
            return;
        }
        if self.lines & bit == 0 {
            self.latch(level);
        }
        self.lines |= bit;
    }

    /// Remembers an edge.
    pub(super) fn latch(&mut self, level: u8) {
        self.edges |= bit(level) & !self.level_triggered;
    }

    /// Forgets an edge.
    pub(super) fn withdraw(&mut self, level: u8) {
        self.edges &= !bit(level);
    }

    pub(super) fn level_triggered(&self) -> u8 {
        self.level_triggered
    }

    pub(super) fn set_level_triggered(&mut self, lines: u8) {
        self.level_triggered = lines & self.can_be_level;
        self.edges &= !self.level_triggered;
    }

    pub(super) fn is_initialised(&self) -> bool {
        self.expects == Expects::Ocw1
    }

    pub(super) fn vector(&self, level: u8) -> u8 {
        self.vectors | level & LEVEL_BITS
    }

    /// The level that INT is raised for. It stays low until an initialisation has ended.
    pub(super) fn request(&self) -> Option<u8> {
        if !self.is_initialised() {
            return None;
        }
        let level = self.first(self.requests() & !self.mask)?;
        let Some(served) = self.first(self.blocking()) else {
            return Some(level);
        };
        // A slave has levels of its own: only it knows which of them is above the one in service.
        let nests = self.special_fully_nested && served == level && self.slaves & bit(level) != 0;
        (nests || self.rank(level) < self.rank(served)).then_some(level)
    }

    /// Takes the request into service, None if there is none.
    pub(super) fn acknowledge(&mut self) -> Option<u8> {
        let level = self.request()?;
        self.withdraw(level);
        if !self.auto_eoi {
            self.in_service |= bit(level);
        } else if self.rotates_on_auto_eoi {
            self.lowest = level;
        }
        Some(level)
    }

    /// The answer to a poll command, None if none came. It acknowledges.
    pub(super) fn poll(&mut self) -> Option<u8> {
        if !std::mem::take(&mut self.polled) {
            return None;
        }
        let request = self.acknowledge().map(|level| POLL_REQUEST | level);
        Some(request.unwrap_or(DEFAULT_LEVEL))
    }

    /// What the command port reads, but for polls.
    pub(super) fn status(&self) -> u8 {
        if self.reads_in_service {
            self.in_service
        } else {
            self.requests()
        }
    }

    /// What the data port reads, but for polls.
    pub(super) fn mask(&self) -> u8 {
        self.mask
    }

    pub(super) fn write_command(&mut self, value: u8) {
        if value & ICW1 != 0 {
            self.begin_initialisation(value);
        } else if value & OCW3 != 0 {
            self.write_ocw3(value);
        } else {
            self.write_ocw2(value >> OCW2_COMMAND_SHIFT, value & LEVEL_BITS);
        }
    }

    pub(super) fn write_data(&mut self, value: u8) {
        match self.expects {
            Expects::Ocw1 => {
                self.mask = value;
                return;
            }
            Expects::Icw2 => self.vectors = value & ICW2_VECTOR,
            Expects::Icw3 => {}
            Expects::Icw4 => {
                self.auto_eoi = value & ICW4_AUTO_EOI != 0;
                self.special_fully_nested = value & ICW4_SPECIAL_FULLY_NESTED != 0;
            }
        }
        self.expects = match self.expects {
            Expects::Icw2 if self.needs_icw3 => Expects::Icw3,
            Expects::Icw2 | Expects::Icw3 if self.needs_icw4 => Expects::Icw4,
            _ => Expects::Ocw1,
        };
    }

    /// ICW1. Lines that are high must fall and rise again to be an edge; what is wired stays.
    fn begin_initialisation(&mut self, icw1: u8) {
        *self = Self {
            level_triggered: self.level_triggered,
            lines: self.lines,
            vectors: self.vectors,
            expects: Expects::Icw2,
            needs_icw3: icw1 & ICW1_SINGLE == 0,
            needs_icw4: icw1 & ICW1_NEEDS_ICW4 != 0,
            ..Self::new(self.can_be_level, self.slaves)
        };
    }

    fn write_ocw2(&mut self, command: u8, level: u8) {
        match command {
            0b000 => self.rotates_on_auto_eoi = false,
            0b001 => {
                self.end_first();
            }
            0b011 => self.in_service &= !bit(level),
            0b100 => self.rotates_on_auto_eoi = true,
            0b101 => {
                if let Some(ended) = self.end_first() {
                    self.lowest = ended;
                }
            }
            0b110 => self.lowest = level,
            0b111 => {
                self.in_service &= !bit(level);
                self.lowest = level;
            }
            // No operation.
            _ => {}
        }
    }

    fn write_ocw3(&mut self, value: u8) {
        if value & OCW3_SELECTS_SPECIAL_MASK != 0 {
            self.special_mask = value & OCW3_SPECIAL_MASK != 0;
        }
        if value & OCW3_SELECTS_READ != 0 {
            self.reads_in_service = value & OCW3_READ_IN_SERVICE != 0;
        }
        self.polled |= value & OCW3_POLL != 0;
    }

    /// An end of interrupt that names no level.
    fn end_first(&mut self) -> Option<u8> {
        let level = self.first(self.blocking())?;
        self.in_service &= !bit(level);
        Some(level)
    }

    fn requests(&self) -> u8 {
        self.edges | self.lines & self.level_triggered
    }

    /// What is in service and keeps others out. In special mask mode a masked level does not.
    fn blocking(&self) -> u8 {
        if self.special_mask {
            self.in_service & !self.mask
        } else {
            self.in_service
        }
    }

    /// The level of the highest priority among `levels`.
    fn first(&self, levels: u8) -> Option<u8> {
        (0..=LEVEL_BITS)
            .map(|rank| (self.lowest + 1 + rank) & LEVEL_BITS)
            .find(|&level| levels & bit(level) != 0)
    }

    /// How many levels have a higher priority.
    fn rank(&self, level: u8) -> u8 {
        level.wrapping_sub(self.lowest + 1) & LEVEL_BITS
    }
}

fn bit(level: u8) -> u8 {
    1 << (level & LEVEL_BITS)
}
