// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A timer that fires when the guest has just been entered.

use std::time::{Duration, Instant};

use super::delay::AdaptiveDelay;
use super::mechanism::{Apply, End, Owner, Refusal, Tools};
use super::situation::Situation;
use super::thread_timer::{Taken, again};

#[derive(Debug)]
pub(super) struct Timer {
    taken: Taken,
    delay: AdaptiveDelay,
    /// When it was last started, and how long it then ran.
    started: Option<Instant>,
    ran: Duration,
}

impl Timer {
    pub(super) fn new(taken: Taken) -> Self {
        Self {
            taken,
            delay: AdaptiveDelay::default(),
            started: None,
            ran: Duration::ZERO,
        }
    }
}

impl Apply for Timer {
    fn prepare(&mut self, _situation: &Situation, _tools: &Tools<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn arm(&mut self, tools: &mut Tools<'_>) -> Result<(), kvm_ioctls::Error> {
        self.started = Some(Instant::now());
        tools.timer.start(tools.fd, self.delay.get(), self.taken)
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
        // A handler may have taken the signal before KVM_RUN: then it was the next one that ended the
        // entry.
        let delay = self.delay.get();
        let late = self.taken == Taken::ByHandler && self.ran > delay + again(delay) / 2;
        match entered && late {
            true => self.delay.learn_late(),
            false => self.delay.learn(entered),
        }
    }
}
