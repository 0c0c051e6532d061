// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! After which time a timer is to fire, so that it meets the guest just entered.

use std::time::Duration;

/// Where a host that nobody has measured begins.
const FIRST: Duration = Duration::from_micros(20);
const SHORTEST: Duration = Duration::from_micros(1);
/// An entry that takes longer to come about is not held up by its timer.
const LONGEST: Duration = Duration::from_millis(20);

/// A delay that learns: too short and the timer fires before the guest is entered, too long and the
/// guest runs for nothing.
///
/// It creeps down with each entry and goes up by a quarter when one was missed, so that it settles
/// where about one of sixteen is. Within a row of misses it doubles, for those may have another
/// cause (a stopped process, a busy host), and falls back when the row is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AdaptiveDelay {
    settled: Duration,
    /// Misses in a row.
    misses: u32,
}

impl Default for AdaptiveDelay {
    fn default() -> Self {
        Self {
            settled: FIRST,
            misses: 0,
        }
    }
}

impl AdaptiveDelay {
    /// The delay for the next attempt.
    pub(super) fn get(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.misses).unwrap_or(u32::MAX);
        self.settled.saturating_mul(factor).min(LONGEST)
    }

    /// The guest was entered, and ran for longer than the delay: the timer may have fired too early and
    /// then again, or the host is slow with it. So a little more, but not without end.
    pub(super) fn learn_late(&mut self) {
        const ENOUGH: Duration = Duration::from_millis(1);
        self.misses = 0;
        if self.settled < ENOUGH {
            self.settled += self.settled / 4;
        }
    }

    /// The attempt with that delay entered the guest, or did not.
    pub(super) fn learn(&mut self, entered: bool) {
        let settled = match (entered, self.misses) {
            (false, misses) => {
                self.misses = misses.saturating_add(1).min(31);
                return;
            }
            (true, 0) => self.settled - self.settled / 64,
            (true, _) => self.settled + self.settled / 4,
        };
        self.misses = 0;
        self.settled = settled.clamp(SHORTEST, LONGEST);
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Attempts until one enters a guest that takes `latency` to be entered.
    fn attempts(delay: &mut AdaptiveDelay, latency: Duration) -> u32 {
        for attempt in 1..64 {
            let entered = delay.get() > latency;
            delay.learn(entered);
            if entered {
                return attempt;
            }
        }
        panic!("{delay:?} never reaches {latency:?}");
    }

    #[test]
    fn it_settles_just_above_what_an_entry_takes() {
        for micros in [2, 10, 70, 900] {
            let latency = Duration::from_micros(micros);
            let mut delay = AdaptiveDelay::default();
            for _ in 0..2000 {
                attempts(&mut delay, latency);
            }
            let mut missed = 0;
            for _ in 0..1000 {
                missed += attempts(&mut delay, latency) - 1;
                assert!(
                    delay.settled <= latency * 3 / 2,
                    "{delay:?} for {latency:?}"
                );
            }
            assert!((30..150).contains(&missed), "{missed} of 1000 missed");
        }
    }

    #[test]
    fn a_row_of_misses_does_not_stay() {
        let mut delay = AdaptiveDelay::default();
        for _ in 0..100 {
            delay.learn(false);
        }
        assert_eq!(delay.get(), LONGEST);
        delay.learn(true);
        assert_eq!(delay.get(), FIRST + FIRST / 4);
    }

    #[test]
    fn a_slow_host_does_not_make_it_grow_without_end() {
        let mut delay = AdaptiveDelay::default();
        for _ in 0..1000 {
            delay.learn_late();
        }
        assert!(delay.get() < Duration::from_millis(2), "{delay:?}");
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds(outcomes in proptest::collection::vec(any::<bool>(), 0..500)) {
            let mut delay = AdaptiveDelay::default();
            for entered in outcomes {
                delay.learn(entered);
                prop_assert!((SHORTEST..=LONGEST).contains(&delay.get()));
            }
        }
    }
}
