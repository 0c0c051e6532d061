// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A timer that fires when the guest has just been entered.

use std::time::{Duration, Instant};

use super::delay::AdaptiveDelay;
use super::mechanism::{Apply, End, Owner, Refusal, Tools};
use super::situation::Situation;
use super::thread_timer::Taken;

/// The time between the signals that a handler takes is so many times that of the fastest entry seen: a
/// host that takes as long for one as they are apart would do nothing else, and never come back.
const AGAIN: u32 = 8;
const AGAIN_LEAST: Duration = Duration::from_micros(250);
const AGAIN_MOST: Duration = Duration::from_millis(20);
/// Of a host that was not seen yet.
const FASTEST: Duration = Duration::from_micros(250);

/// Whom the timer's signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    ToHandler,
    ToKvmRun,
}

#[derive(Debug)]
pub(super) struct Timer {
    delivered: Delivered,
    delay: AdaptiveDelay,
    /// From starting the timer to being back, at best; creeps up, as a host may become slower.
    fastest: Duration,
    /// When it was last started, and how long it then ran.
    started: Option<Instant>,
    ran: Duration,
}

impl Timer {
    pub(super) fn new(delivered: Delivered) -> Self {
        Self {
            delivered,
            delay: AdaptiveDelay::default(),
            fastest: FASTEST,
            started: None,
            ran: Duration::ZERO,
        }
    }

    fn again(&self) -> Duration {
        (self.fastest * AGAIN).clamp(AGAIN_LEAST, AGAIN_MOST)
    }

    /// A handler may have taken the signal before KVM_RUN: then it was the next one that ended the
    /// entry. Or the host is slow to come back.
    fn is_late(&self) -> bool {
        self.delivered == Delivered::ToHandler && self.ran > self.delay.get() + self.again() / 2
    }
}

impl Apply for Timer {
    fn prepare(&mut self, _situation: &Situation, _tools: &Tools<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn arm(&mut self, tools: &mut Tools<'_>) -> Result<(), kvm_ioctls::Error> {
        let taken = match self.delivered {
            Delivered::ToHandler => Taken::ByHandler {
                again: self.again(),
            },
            Delivered::ToKvmRun => Taken::ByKvmRun,
        };
        self.started = Some(Instant::now());
        tools.timer.start(tools.fd, self.delay.get(), taken)
    }

    fn disarm(&mut self, tools: &mut Tools<'_>) -> Result<(), kvm_ioctls::Error> {
        self.ran = self
            .started
            .take()
            .map_or(Duration::ZERO, |at| at.elapsed());
        tools.timer.stop(tools.fd)
    }

    /// The user's own: a timer ends an entry with EINTR.
    fn owner(&self, _tools: &Tools<'_>) -> Owner {
        Owner::User
    }

    fn settle(
        &mut self,
        _before: &Situation,
        _after: &Situation,
        _end: End,
        _tools: &Tools<'_>,
    ) -> Option<u64> {
        None
    }

    fn learn(&mut self, entered: bool) {
        let late = self.is_late();
        match entered && late {
            true => self.delay.learn_late(),
            false => self.delay.learn(entered),
        }
        let slower = (self.fastest + self.fastest / 16).min(AGAIN_MOST);
        self.fastest = slower.min(self.ran.max(Duration::from_micros(1)));
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn a_slow_host_is_given_time_and_a_fast_one_is_not() {
        let mut timer = Timer::new(Delivered::ToHandler);
        let mut ran = |times, micros| {
            for _ in 0..times {
                timer.ran = Duration::from_micros(micros);
                timer.learn(true);
            }
            timer.again()
        };
        assert_eq!(ran(1, 400), Duration::from_micros(2125));
        assert_eq!(ran(200, 400), Duration::from_micros(3200));
        assert_eq!(ran(1, 20), AGAIN_LEAST);
        // One that has become slow.
        assert_eq!(ran(500, 15_000), AGAIN_MOST);
    }

    #[test]
    fn one_that_kvm_takes_is_never_late() {
        let mut timer = Timer::new(Delivered::ToKvmRun);
        timer.ran = Duration::from_secs(1);
        assert!(!timer.is_late());
    }
}
