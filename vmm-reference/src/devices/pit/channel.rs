// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A counter with its registers: how the guest writes and reads it byte by byte.

use super::counter::Counter;
use super::mode::Mode;

/// A control word, but for the channel's number, and so also the lower bits of a status.
const BCD: u8 = 1 << 0;
const MODE_SHIFT: u8 = 1;
const ACCESS_SHIFT: u8 = 4;
const ACCESS_MASK: u8 = 0b11;
const CONTROL_BITS: u8 = 0b11_1111;

/// A status: nothing was loaded since the last count or control word; the output.
const STATUS_NULL: u8 = 1 << 6;
const STATUS_OUTPUT: u8 = 1 << 7;

/// Which bytes of a count are written and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Low,
    High,
    /// The low one, then the high one.
    Both,
}

/// Which byte comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Byte {
    Low,
    High,
}

#[derive(Clone, Debug)]
pub(super) struct Channel {
    pub(super) counter: Counter,
    /// The control word's lower six bits.
    control: u8,
    access: Access,
    /// The low byte that waits for its high one.
    written_low: Option<u8>,
    reads: Byte,
    /// Held for the guest until it has read it, with the byte that it reads next.
    latched_count: Option<(u16, Byte)>,
    latched_status: Option<u8>,
}

impl Channel {
    /// The data sheet leaves the mode undefined. In this one the output is high, so that the mode that
    /// the guest chooses makes no edge.
    const POWER_ON: u8 = 0b11_0110;

    pub(super) fn new(gate: bool) -> Self {
        Self {
            counter: Counter::new(Mode::SquareWave, gate),
            control: Self::POWER_ON,
            access: Access::Both,
            written_low: None,
            reads: Byte::Low,
            latched_count: None,
            latched_status: None,
        }
    }

    /// A control word. Its access bits are not 0, which is [`latch_count`](Self::latch_count).
    pub(super) fn write_control(&mut self, control: u8) {
        let access = match control >> ACCESS_SHIFT & ACCESS_MASK {
            1 => Access::Low,
            2 => Access::High,
            _ => Access::Both,
        };
        self.counter
            .set_mode(Mode::new(control >> MODE_SHIFT), control & BCD != 0);
        *self = Self {
            counter: self.counter,
            control: control & CONTROL_BITS,
            access,
            ..Self::new(self.counter.gate())
        };
    }

    pub(super) fn write(&mut self, byte: u8) {
        let bytes = match (self.access, self.written_low.take()) {
            (Access::Low, _) => [byte, 0],
            (Access::High, _) => [0, byte],
            (Access::Both, Some(low)) => [low, byte],
            (Access::Both, None) => {
                self.written_low = Some(byte);
                self.counter.half_write();
                return;
            }
        };
        let count = u16::from_le_bytes(bytes);
        self.counter.write(if self.is_bcd() {
            from_bcd(count)
        } else {
            u64::from(count)
        });
    }

    pub(super) fn read(&mut self) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        if let Some((count, next)) = self.latched_count.take() {
            if next == Byte::Low && self.access == Access::Both {
                self.latched_count = Some((count, Byte::High));
            }
            return byte_of(count, next);
        }
        let next = match self.access {
            Access::Low => Byte::Low,
            Access::High => Byte::High,
            Access::Both => {
                let next = self.reads;
                self.reads = match next {
                    Byte::Low => Byte::High,
                    Byte::High => Byte::Low,
                };
                next
            }
        };
        byte_of(self.count(), next)
    }

    /// Holds the count, unless one is held already.
    pub(super) fn latch_count(&mut self) {
        let first = match self.access {
            Access::High => Byte::High,
            Access::Low | Access::Both => Byte::Low,
        };
        let count = self.count();
        self.latched_count.get_or_insert((count, first));
    }

    /// Holds the status, unless one is held already.
    pub(super) fn latch_status(&mut self) {
        let mut status = self.control;
        if self.counter.is_null() {
            status |= STATUS_NULL;
        }
        if self.counter.output() {
            status |= STATUS_OUTPUT;
        }
        self.latched_status.get_or_insert(status);
    }

    fn is_bcd(&self) -> bool {
        self.control & BCD != 0
    }

    fn count(&self) -> u16 {
        let remaining = self.counter.remaining();
        let count = if self.is_bcd() {
            to_bcd(remaining)
        } else {
            remaining
        };
        // The counter wraps at 16 bits or four digits.
        u16::try_from(count).unwrap_or(u16::MAX)
    }
}

fn byte_of(count: u16, byte: Byte) -> u8 {
    let [low, high] = count.to_le_bytes();
    match byte {
        Byte::Low => low,
        Byte::High => high,
    }
}

/// Digits above 9 count as what they are.
fn from_bcd(digits: u16) -> u64 {
    [12, 8, 4, 0].into_iter().fold(0, |value, shift| {
        value * 10 + u64::from(digits >> shift & 0xf)
    })
}

/// Of a number below 10 000.
fn to_bcd(value: u64) -> u64 {
    [1000, 100, 10, 1]
        .into_iter()
        .fold(0, |digits, unit| (digits << 4) | (value / unit % 10))
}
