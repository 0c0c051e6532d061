// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Wakes the vCPU when one of its timers is due: a timerfd, which the VMM's event loop watches.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vmm_sys_util::timerfd::TimerFd;

/// The shortest time for which it is set, in nanoseconds: a guest may set a timer that is due all the
/// time (KVM's own timers have the same bound).
const SHORTEST: u64 = 200_000;

/// The vCPU's side.
#[derive(Clone)]
pub struct Alarm(Arc<Mutex<Inner>>);

struct Inner {
    timer: TimerFd,
    /// When it is set for, in nanoseconds since the machine began; `None`: it is not.
    set_for: Option<u64>,
}

impl Alarm {
    /// An alarm that is not set.
    ///
    /// # Errors
    /// When there is no timerfd to be had.
    pub fn new() -> io::Result<Self> {
        let timer = TimerFd::new().map_err(io::Error::from)?;
        Ok(Self(Arc::new(Mutex::new(Inner {
            timer,
            set_for: None,
        }))))
    }

    /// Sets it for a moment, in nanoseconds since the machine began, that is now `now`. It goes off a
    /// little later than it should rather than so soon that the guest does not get anywhere meanwhile.
    pub fn set(&self, deadline: Option<u64>, now: u64) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let soonest = now.saturating_add(SHORTEST);
        let deadline = match (deadline, inner.set_for) {
            // It is set for soon already.
            (Some(wanted), Some(set)) if wanted < soonest && (now..=soonest).contains(&set) => {
                Some(set)
            }
            (wanted, _) => wanted.map(|wanted| wanted.max(soonest)),
        };
        if inner.set_for == deadline {
            return;
        }
        inner.set_for = deadline;
        let done = match deadline {
            // Zero would switch it off.
            Some(at) => inner
                .timer
                .reset(Duration::from_nanos(at.saturating_sub(now).max(1)), None),
            None => inner.timer.clear(),
        };
        if let Err(error) = done {
            log::error!("cannot set a timer: {error}");
        }
    }

    fn went_off(&self) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have been set anew since the event loop saw it; to read it would then wait.
        if !inner.timer.is_armed().unwrap_or(false) {
            inner.set_for = None;
            // That it has expired is forgotten, so that the event loop sees it once.
            if let Err(error) = inner.timer.clear() {
                log::error!("cannot stop a timer: {error}");
            }
        }
    }

    fn descriptor(&self) -> RawFd {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.timer.as_raw_fd()
    }
}

/// The event loop's side.
pub struct AlarmEvents<F> {
    alarm: Alarm,
    wake: F,
}

impl<F: FnMut()> AlarmEvents<F> {
    /// Calls `wake` when the alarm goes off.
    pub fn new(alarm: Alarm, wake: F) -> Self {
        Self { alarm, wake }
    }
}

/// The alarm's descriptor, by its number: event-manager wants something that has one.
struct Descriptor(RawFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl<F: FnMut()> MutEventSubscriber for AlarmEvents<F> {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        let descriptor = Descriptor(self.alarm.descriptor());
        if let Err(error) = ops.add(Events::new(&descriptor, EventSet::IN)) {
            log::error!("cannot watch a timer: {error}");
        }
    }

    fn process(&mut self, _events: Events, _ops: &mut EventOps<'_>) {
        self.alarm.went_off();
        (self.wake)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_for(alarm: &Alarm) -> Option<u64> {
        alarm.0.lock().unwrap().set_for
    }

    #[test]
    fn a_timer_that_is_due_all_the_time_leaves_the_guest_some() {
        let alarm = Alarm::new().unwrap();
        alarm.set(Some(1), 1_000_000);
        assert_eq!(set_for(&alarm), Some(1_000_000 + SHORTEST));
        // A little later the same again: it is not put off.
        alarm.set(Some(1_000_001), 1_000_100);
        assert_eq!(set_for(&alarm), Some(1_000_000 + SHORTEST));
        alarm.set(Some(9_000_000), 1_000_200);
        assert_eq!(set_for(&alarm), Some(9_000_000));
        alarm.set(Some(5_000_000), 1_000_300);
        assert_eq!(set_for(&alarm), Some(5_000_000));
        alarm.set(None, 1_000_400);
        assert_eq!(set_for(&alarm), None);
    }

    #[test]
    fn one_that_went_off_can_be_set_again() {
        let alarm = Alarm::new().unwrap();
        alarm.set(Some(0), 0);
        // Not yet: nothing waits for it, and nothing is lost.
        alarm.went_off();
        assert_eq!(set_for(&alarm), Some(SHORTEST));
        let begin = std::time::Instant::now();
        while set_for(&alarm).is_some() {
            assert!(begin.elapsed() < Duration::from_secs(60));
            alarm.went_off();
        }
        alarm.set(Some(0), 0);
        assert_eq!(set_for(&alarm), Some(SHORTEST));
    }
}
