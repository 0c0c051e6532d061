// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One counter behind its registers: what it counts, its gate and its output.
//!
//! It is as of one tick, and goes to a later one in a bounded number of steps, however far that is: a
//! load of a new count is the only thing that happens to it by itself, and no more than one waits.

use super::mode::{Mode, high_half};

#[derive(Clone, Copy, Debug)]
pub(super) struct Counter {
    /// The tick that the rest is as of.
    now: u64,
    mode: Mode,
    /// Where the count wraps.
    modulus: u64,
    gate: bool,
    /// The count register: what the next load takes.
    written: Option<u64>,
    /// The count register was written, and not loaded since.
    is_null: bool,
    /// When the next load is.
    load: Option<Load>,
    /// What is being counted.
    counting: Option<Counting>,
    /// Half of a count was written, which stops mode 0.
    is_half_written: bool,
    /// Rising edges that nobody has taken.
    edges: u64,
}

#[derive(Clone, Copy, Debug)]
struct Load {
    /// After `now`.
    tick: u64,
    /// It ends the first half of a square wave, which goes on with the new count's second.
    in_the_middle: bool,
}

#[derive(Clone, Copy, Debug)]
struct Counting {
    /// Not 0.
    count: u64,
    clocks: u64,
}

impl Counter {
    pub(super) fn new(mode: Mode, gate: bool) -> Self {
        Self {
            now: 0,
            mode,
            modulus: modulus(false),
            gate,
            written: None,
            is_null: true,
            load: None,
            counting: None,
            is_half_written: false,
            edges: 0,
        }
    }

    /// A control word: counts in `mode` once a count is written.
    pub(super) fn set_mode(&mut self, mode: Mode, is_bcd: bool) {
        self.change(|counter| {
            *counter = Self {
                now: counter.now,
                modulus: modulus(is_bcd),
                edges: counter.edges,
                ..Self::new(mode, counter.gate)
            };
        });
    }

    /// The first byte of two was written.
    pub(super) fn half_write(&mut self) {
        self.change(|counter| counter.is_half_written = true);
    }

    /// A count was written, 0 for the greatest.
    pub(super) fn write(&mut self, count: u64) {
        self.change(|counter| {
            let count = if count == 0 { counter.modulus } else { count };
            counter.is_half_written = false;
            counter.written = Some(count);
            counter.is_null = true;
            match counter.counting {
                _ if counter.mode.is_triggered() => {}
                Some(counting) if counter.mode.is_periodic() => {
                    // A load that waits takes what was written last.
                    if counter.load.is_none() {
                        counter.load = counter.load_after(counting);
                    }
                }
                _ => counter.load_next(),
            }
        });
    }

    pub(super) fn gate(&self) -> bool {
        self.gate
    }

    pub(super) fn set_gate(&mut self, gate: bool) {
        if gate == self.gate {
            return;
        }
        self.change(|counter| {
            counter.gate = gate;
            if !counter.mode.is_triggered() && !counter.mode.is_periodic() {
                return;
            }
            if !gate {
                if counter.mode.is_periodic() && counter.counting.is_some() {
                    // What waits for the end of the period waits for the gate now.
                    counter.load = None;
                }
            } else if counter.written.is_some() {
                counter.load_next();
                if let (true, Some(counting)) = (counter.mode.is_periodic(), &mut counter.counting)
                {
                    // The output stays high until the load.
                    counting.clocks = 0;
                }
            }
        });
    }

    pub(super) fn is_null(&self) -> bool {
        self.is_null
    }

    pub(super) fn output(&self) -> bool {
        let initial = self.mode.initial_output();
        if self.is_forced_low() || self.mode.is_periodic() && !self.gate {
            return initial;
        }
        self.counting.map_or(initial, |counting| {
            self.mode.output(counting.count, counting.clocks)
        })
    }

    /// What the counter reads. Where the data sheet leaves it undefined, before a load, it is 0.
    pub(super) fn remaining(&self) -> u64 {
        self.counting.map_or(0, |counting| {
            self.mode
                .remaining(counting.count, counting.clocks, self.modulus)
        })
    }

    pub(super) fn take_edges(&mut self) -> u64 {
        std::mem::take(&mut self.edges)
    }

    /// As of a later tick. An earlier one changes nothing.
    pub(super) fn at(mut self, tick: u64) -> Self {
        self.advance(tick);
        self
    }

    /// Goes to a later tick. An earlier one changes nothing.
    pub(super) fn advance(&mut self, tick: u64) {
        if let Some(load) = self.load.filter(|load| load.tick <= tick) {
            self.count_to(load.tick - 1);
            self.change(|counter| {
                counter.now = load.tick;
                counter.take_load(load);
            });
        }
        self.count_to(tick);
    }

    /// The tick at which the output rises next, None if it does not unless something changes.
    pub(super) fn next_rise(&self) -> Option<u64> {
        let Some(load) = self.load else {
            return self.next_counted_rise();
        };
        let before = self.next_counted_rise();
        if before.is_some_and(|tick| tick < load.tick) {
            return before;
        }
        let low = !self.at(load.tick - 1).output();
        let loaded = self.at(load.tick);
        if low && loaded.output() {
            return Some(load.tick);
        }
        loaded.next_counted_rise()
    }

    /// As [`next_rise`](Self::next_rise), if nothing is loaded before.
    fn next_counted_rise(&self) -> Option<u64> {
        let counting = self.counting.filter(|_| self.counts())?;
        if self.is_forced_low() {
            return None;
        }
        let next = self.mode.next_rise(counting.count, counting.clocks)?;
        self.now.checked_add(next - counting.clocks)
    }

    /// Mode 0 is low from the moment that a new count is written.
    fn is_forced_low(&self) -> bool {
        self.mode == Mode::TerminalCount && (self.is_half_written || self.load.is_some())
    }

    /// Whether clocks are counted, if there is something to count.
    fn counts(&self) -> bool {
        let is_stopped = self.mode == Mode::TerminalCount && self.is_half_written;
        self.mode.is_triggered() || self.gate && !is_stopped
    }

    fn load_next(&mut self) {
        self.load = self.now.checked_add(1).map(|tick| Load {
            tick,
            in_the_middle: false,
        });
    }

    /// The load of a new count in a periodic mode, which the gate lets happen at the period's end.
    fn load_after(&self, counting: Counting) -> Option<Load> {
        if !self.gate {
            return None;
        }
        let (clocks, in_the_middle) = self.mode.next_load(counting.count, counting.clocks);
        let tick = self.now.checked_add(clocks)?;
        Some(Load {
            tick,
            in_the_middle,
        })
    }

    fn take_load(&mut self, load: Load) {
        self.load = None;
        self.is_null = false;
        self.counting = self.written.map(|count| Counting {
            count,
            clocks: if load.in_the_middle {
                high_half(count)
            } else {
                0
            },
        });
    }

    /// Goes to a later tick before which nothing is loaded.
    fn count_to(&mut self, tick: u64) {
        let clocks = tick.saturating_sub(self.now);
        self.now += clocks;
        let (counts, is_forced_low) = (self.counts(), self.is_forced_low());
        let Some(counting) = self.counting.as_mut().filter(|_| counts) else {
            return;
        };
        let before = self.mode.rises(counting.count, counting.clocks);
        counting.clocks = counting.clocks.saturating_add(clocks);
        let after = self.mode.rises(counting.count, counting.clocks);
        if !is_forced_low {
            self.edges = self.edges.saturating_add(after.saturating_sub(before));
        }
    }

    /// Changes something within a tick, by which the output may rise too.
    fn change(&mut self, change: impl FnOnce(&mut Self)) {
        let before = self.output();
        change(self);
        if !before && self.output() {
            self.edges = self.edges.saturating_add(1);
        }
    }
}

/// How many counts there are, in four digits or in 16 bits.
fn modulus(is_bcd: bool) -> u64 {
    if is_bcd { 10_000 } else { 1 << 16 }
}
