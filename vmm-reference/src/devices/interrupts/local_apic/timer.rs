// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The timer: counts down once or again and again, or waits until the TSC is at a deadline.
//!
//! Its clock ticks once in a nanosecond, before the divider.

#[cfg(test)]
mod tests;

use super::lvt::TIMER_MODE;
use crate::devices::interrupts::now::Now;

/// The bits of the divide configuration.
pub(super) const DIVIDE_BITS: u32 = 0b1011;

/// What the timer does when it has counted down, from its entry in the local vector table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    OneShot,
    Periodic,
    Deadline,
    /// The reserved one: nothing.
    Stopped,
}

impl Mode {
    fn of_word(word: u32) -> Self {
        match (word & TIMER_MODE) >> TIMER_MODE.trailing_zeros() {
            0 => Self::OneShot,
            1 => Self::Periodic,
            2 => Self::Deadline,
            _ => Self::Stopped,
        }
    }

    fn counts(self) -> bool {
        matches!(self, Self::OneShot | Self::Periodic)
    }
}

/// A count that has begun: how many ticks there were, and when.
#[derive(Clone, Copy, Debug)]
struct Countdown {
    count: u32,
    since: u64,
}

/// The timer's registers.
#[derive(Clone, Debug)]
pub(super) struct Timer {
    tsc_khz: u32,
    mode: Mode,
    initial: u32,
    divide: u32,
    countdown: Option<Countdown>,
    /// The TSC's value to wait for, or 0.
    deadline: u64,
}

impl Timer {
    pub(super) fn new(tsc_khz: u32) -> Self {
        Self {
            tsc_khz,
            mode: Mode::default(),
            initial: 0,
            divide: 0,
            countdown: None,
            deadline: 0,
        }
    }

    pub(super) fn tsc_khz(&self) -> u32 {
        self.tsc_khz
    }

    /// Takes the mode from what the local vector table says.
    pub(super) fn set_mode(&mut self, word: u32) {
        let old = std::mem::replace(&mut self.mode, Mode::of_word(word));
        // One that counts goes on; any other change disarms it.
        if old != self.mode && !(old.counts() && self.mode.counts()) {
            self.countdown = None;
            self.deadline = 0;
        }
    }

    pub(super) fn initial(&self) -> u32 {
        self.initial
    }

    /// Begins to count, or with 0 stops.
    pub(super) fn set_initial(&mut self, count: u32, now: Now) {
        if self.mode == Mode::Deadline {
            return;
        }
        self.initial = count;
        self.countdown = (count != 0 && self.mode.counts()).then_some(Countdown {
            count,
            since: now.nanoseconds,
        });
    }

    /// The present count of a timer that is not overdue.
    pub(super) fn current(&self, now: Now) -> u32 {
        let Some(Countdown { count, since }) = self.countdown else {
            return 0;
        };
        let ticks = now.nanoseconds.saturating_sub(since) >> self.shift();
        count.saturating_sub(u32::try_from(ticks).unwrap_or(u32::MAX))
    }

    pub(super) fn divide(&self) -> u32 {
        self.divide
    }

    /// Changes the speed. What is left of a timer that is not overdue is counted with the new one.
    pub(super) fn set_divide(&mut self, value: u32, now: Now) {
        let count = self.current(now);
        self.divide = value & DIVIDE_BITS;
        if let Some(countdown) = &mut self.countdown {
            *countdown = Countdown {
                count,
                since: now.nanoseconds,
            };
        }
    }

    /// The TSC deadline: 0 in other modes and when it has passed.
    pub(super) fn tsc_deadline(&self) -> u64 {
        self.deadline
    }

    /// Waits for the deadline, or with 0 for none.
    pub(super) fn set_tsc_deadline(&mut self, value: u64) {
        if self.mode == Mode::Deadline {
            self.deadline = value;
        }
    }

    /// Whether it is due, once for however many periods. It waits for the next one then.
    pub(super) fn expire(&mut self, now: Now) -> bool {
        if self.deadline != 0 && now.tsc >= self.deadline {
            self.deadline = 0;
            return true;
        }
        let Some(Countdown { count, since }) = self.countdown else {
            return false;
        };
        let elapsed = now.nanoseconds.saturating_sub(since);
        let Some(late) = elapsed.checked_sub(self.nanoseconds(count)) else {
            return false;
        };
        let into_period = match self.mode {
            Mode::Periodic => late.checked_rem(self.nanoseconds(self.initial)),
            _ => None,
        };
        self.countdown = into_period.map(|into_period| Countdown {
            count: self.initial,
            since: now.nanoseconds.saturating_sub(into_period),
        });
        true
    }

    /// When it is due. `None`: never.
    pub(super) fn next(&self, now: Now) -> Option<u64> {
        if self.deadline != 0 {
            return Some(now.nanoseconds.saturating_add(self.until_deadline(now)));
        }
        let Countdown { count, since } = self.countdown?;
        Some(since.saturating_add(self.nanoseconds(count)))
    }

    /// Nanoseconds, rounded up.
    fn until_deadline(&self, now: Now) -> u64 {
        let cycles = u128::from(self.deadline.saturating_sub(now.tsc));
        let nanoseconds = (cycles * 1_000_000).div_ceil(u128::from(self.tsc_khz.max(1)));
        u64::try_from(nanoseconds).unwrap_or(u64::MAX)
    }

    fn nanoseconds(&self, count: u32) -> u64 {
        u64::from(count) << self.shift()
    }

    /// The divider's power of two: 2 to 128, then 1. Bit 2 of its bits is not one of them.
    fn shift(&self) -> u32 {
        let number = self.divide >> 1 & 0b100 | self.divide & 0b11;
        (number + 1) & 0b111
    }
}
