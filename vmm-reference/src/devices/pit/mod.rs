// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The 8254 timer of a PC and port 0x61, which gates its third channel. Everything follows from the
//! time that the caller gives: nothing runs between two calls.

mod channel;
mod clock;
mod counter;
mod mode;
#[cfg(test)]
mod tests;

use channel::Channel;

/// The ports: the three channels, the control words, and system control port B.
const CHANNEL_0: u16 = 0x40;
const CHANNEL_1: u16 = 0x41;
const CHANNEL_2: u16 = 0x42;
const CONTROL: u16 = 0x43;
const SYSTEM_CONTROL: u16 = 0x61;

/// A control word's upper bits: the channel, or a read-back command.
const SELECT_SHIFT: u8 = 6;
const READ_BACK: u8 = 3;
/// The bits that are all zeros in the command that latches a count.
const ACCESS_MASK: u8 = 0b11 << 4;

/// The read-back command: two bits that are 0 for what is latched, and one for each channel.
const READ_BACK_NO_COUNT: u8 = 1 << 5;
const READ_BACK_NO_STATUS: u8 = 1 << 4;
const READ_BACK_CHANNELS_SHIFT: u8 = 1;

/// System control port B. Channel 2's gate, the speaker, and what masks two kinds of errors that
/// never happen can be written; the refresh toggle and channel 2's output can be read.
const GATE_2: u8 = 1 << 0;
const WRITABLE: u8 = 0b1111;
const REFRESH: u8 = 1 << 4;
const OUTPUT_2: u8 = 1 << 5;

/// How many ticks there are between two refreshes of the memory.
const REFRESH_TICKS: u64 = 18;

/// The 8254 timer: three channels, ports 0x40 to 0x43, and port 0x61 (gate 2, speaker, refresh
/// toggle, output 2).
///
/// Its time is in nanoseconds since the machine started. It never goes back: an earlier time than
/// the last counts as the last.
#[derive(Clone, Debug)]
pub struct Pit {
    channels: [Channel; 3],
    /// What was written to port 0x61.
    system_control: u8,
}

impl Pit {
    /// As after power-on: no channel counts, their outputs are high, and channel 2's gate is low.
    pub fn new() -> Self {
        Self {
            channels: [true, true, false].map(Channel::new),
            system_control: 0,
        }
    }

    /// Reads a port: 0x40 to 0x42 or 0x61. Others are all ones, as is 0x43, which can only be written.
    pub fn read(&mut self, port: u16, nanoseconds: u64) -> u8 {
        self.advance(nanoseconds);
        let [channel_0, channel_1, channel_2] = &mut self.channels;
        match port {
            CHANNEL_0 => channel_0.read(),
            CHANNEL_1 => channel_1.read(),
            CHANNEL_2 => channel_2.read(),
            SYSTEM_CONTROL => {
                let mut value = self.system_control;
                let refreshes = clock::tick_at(nanoseconds) / REFRESH_TICKS;
                if refreshes & 1 != 0 {
                    value |= REFRESH;
                }
                if channel_2.counter.output() {
                    value |= OUTPUT_2;
                }
                value
            }
            _ => u8::MAX,
        }
    }

    /// Writes a port: 0x40 to 0x43 or 0x61. Others are ignored.
    pub fn write(&mut self, port: u16, value: u8, nanoseconds: u64) {
        self.advance(nanoseconds);
        let [channel_0, channel_1, channel_2] = &mut self.channels;
        match port {
            CHANNEL_0 => channel_0.write(value),
            CHANNEL_1 => channel_1.write(value),
            CHANNEL_2 => channel_2.write(value),
            CONTROL if value >> SELECT_SHIFT == READ_BACK => self.read_back(value),
            CONTROL => {
                if let Some(channel) = self.channels.get_mut(usize::from(value >> SELECT_SHIFT)) {
                    if value & ACCESS_MASK == 0 {
                        channel.latch_count();
                    } else {
                        channel.write_control(value);
                    }
                }
            }
            SYSTEM_CONTROL => {
                self.system_control = value & WRITABLE;
                channel_2.counter.set_gate(value & GATE_2 != 0);
            }
            _ => {}
        }
    }

    /// Channel 0's output now: line 0 of the PIC, and line 2 of the I/O APIC.
    pub fn output(&self, nanoseconds: u64) -> bool {
        let [channel_0, ..] = &self.channels;
        channel_0.counter.at(clock::tick_at(nanoseconds)).output()
    }

    /// How many rising edges channel 0's output had since the last call of this method. A mode that
    /// the guest chooses can be one too, where the output was low before.
    pub fn take_edges(&mut self, nanoseconds: u64) -> u64 {
        self.advance(nanoseconds);
        let [channel_0, ..] = &mut self.channels;
        channel_0.counter.take_edges()
    }

    /// When channel 0's output rises next, after `nanoseconds` and on the same scale. None: never,
    /// unless the guest does something.
    pub fn deadline(&self, nanoseconds: u64) -> Option<u64> {
        let [channel_0, ..] = &self.channels;
        let counter = channel_0.counter.at(clock::tick_at(nanoseconds));
        clock::nanoseconds_of(counter.next_rise()?)
    }

    fn advance(&mut self, nanoseconds: u64) {
        let tick = clock::tick_at(nanoseconds);
        for channel in &mut self.channels {
            channel.counter.advance(tick);
        }
    }

    fn read_back(&mut self, command: u8) {
        for (channel, number) in self.channels.iter_mut().zip(READ_BACK_CHANNELS_SHIFT..) {
            if command >> number & 1 == 0 {
                continue;
            }
            if command & READ_BACK_NO_COUNT == 0 {
                channel.latch_count();
            }
            if command & READ_BACK_NO_STATUS == 0 {
                channel.latch_status();
            }
        }
    }
}

impl Default for Pit {
    fn default() -> Self {
        Self::new()
    }
}
