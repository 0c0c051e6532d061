// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a vCPU's thread is asked to be, and what it is.
//!
//! ```text
//!            run                 pause seen, I/O finished
//!   Ready ---------> Running ------------------------------> Paused
//!     |                 |  ^                                  |  |
//!     |                 |  +-----------------------------------+  |
//!     |                 |               resume                    |
//!     |                 | stop, failure, panic                    | stop, panic in a closure
//!     |                 v                                         |
//!     +-------------> Ended <-------------------------------------+
//!   dropped
//! ```

use std::collections::VecDeque;
use std::mem;

use crate::sync::{Condvar, Expired, Mutex, MutexGuard, lock, wait};
use crate::{Deadline, Ending, Error, ImmediateExit, NotEntered};

/// Where a vCPU's thread stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It was not started yet.
    Ready,
    /// It enters the guest, handles an exit or a request, or sleeps because the guest is halted.
    Running,
    /// It waits: I/O is finished, the registers are those that the guest would see.
    Paused,
    /// It has ended.
    Ended(Ending),
}

/// What is asked of a vCPU's thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Run,
    Pause,
    Stop,
}

/// A closure that is to run on the vCPU's thread.
pub(crate) type Call<V> = Box<dyn FnOnce(&mut V) + Send>;

/// Somebody who wants to know what came of an immediate exit. Dropped untold when the thread ends.
pub(crate) type Answer = Box<dyn FnOnce(&Result<ImmediateExit, NotEntered>) + Send>;

/// What the paused thread is to do next.
pub(crate) enum Paused<V> {
    Call(Call<V>),
    Resume,
    Stop,
}

/// The agreement between a vCPU's thread and those who direct it.
pub(crate) struct Control<V> {
    state: Mutex<State<V>>,
    changed: Condvar,
}

struct State<V> {
    asked: Asked,
    phase: Phase,
    /// How often the thread has come to a pause: who waits for one and looks late still learns
    /// that it was.
    pauses: u64,
    calls: VecDeque<Call<V>>,
    /// Who waits for the next immediate exit.
    answers: Vec<Answer>,
    /// How many threads wait on [`Control::changed`]. To notify costs a system call, whether anybody
    /// waits or not.
    waiting: u32,
}

/// What was asked of a thread that has ended without doing it: to be dropped, which tells those who
/// wait.
pub(crate) struct NeverDone<V> {
    _calls: VecDeque<Call<V>>,
    _answers: Vec<Answer>,
}

impl<V> Control<V> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                asked: Asked::Run,
                phase: Phase::Ready,
                pauses: 0,
                calls: VecDeque::new(),
                answers: Vec::new(),
                waiting: 0,
            }),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        lock(&self.state).phase.clone()
    }

    /// Waits for a change, or until `deadline`.
    fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<V>>,
        deadline: Deadline,
    ) -> (MutexGuard<'a, State<V>>, Expired) {
        state.waiting += 1;
        let (mut state, expired) = wait(&self.changed, state, deadline);
        state.waiting -= 1;
        (state, expired)
    }

    /// Lets go of `state`, which has changed, and tells those who wait.
    ///
    /// In this order: who is woken may take the CPU at once. Did the lock's holder lose it then, the
    /// woken one would stand before the lock until the holder's turn comes again, behind every vCPU
    /// that spins. Nobody is missed: who begins to wait in between has seen the change.
    fn tell(&self, state: MutexGuard<'_, State<V>>) {
        let anybody = state.waiting != 0;
        drop(state);
        if anybody {
            self.changed.notify_all();
        }
    }

    fn living(&self) -> Result<MutexGuard<'_, State<V>>, Error> {
        let state = lock(&self.state);
        match &state.phase {
            Phase::Ended(ending) => Err(Error::Ended(ending.clone())),
            _ => Ok(state),
        }
    }

    // ---- those who direct ----

    /// Fails if the thread has ended.
    pub(crate) fn check_living(&self) -> Result<(), Error> {
        self.living().map(drop)
    }

    /// Asks for a pause. The thread has to be told by a request.
    ///
    /// What comes back is how many pauses there were, for [`Self::wait_paused`].
    pub(crate) fn ask_pause(&self) -> Result<u64, Error> {
        let mut state = self.living()?;
        if state.asked != Asked::Stop {
            state.asked = Asked::Pause;
        }
        Ok(state.pauses)
    }

    /// Waits until the thread is paused or was since [`Self::ask_pause`] said `before`.
    pub(crate) fn wait_paused(&self, before: u64, deadline: Deadline) -> Result<(), Error> {
        let mut state = lock(&self.state);
        loop {
            match (&state.phase, state.asked) {
                (Phase::Paused, Asked::Pause) => return Ok(()),
                _ if state.pauses != before => return Ok(()),
                (Phase::Ended(ending), _) => return Err(Error::Ended(ending.clone())),
                (_, Asked::Run) => return Err(Error::PauseTakenBack),
                (_, Asked::Pause | Asked::Stop) => {}
            }
            let expired;
            (state, expired) = self.wait(state, deadline);
            if expired == Expired::Yes {
                return Err(Error::DeadlinePassed);
            }
        }
    }

    /// Asks the thread to run (again).
    pub(crate) fn resume(&self) -> Result<(), Error> {
        let mut state = self.living()?;
        if state.asked == Asked::Pause {
            state.asked = Asked::Run;
            self.tell(state);
        }
        Ok(())
    }

    /// Asks for the end. The thread has to be told by a request.
    pub(crate) fn ask_stop(&self) {
        let mut state = lock(&self.state);
        state.asked = Asked::Stop;
        self.tell(state);
    }

    /// Waits for the end.
    pub(crate) fn wait_ended(&self, deadline: Deadline) -> Result<Ending, Error> {
        let mut state = lock(&self.state);
        loop {
            if let Phase::Ended(ending) = &state.phase {
                return Ok(ending.clone());
            }
            let expired;
            (state, expired) = self.wait(state, deadline);
            if expired == Expired::Yes {
                return Err(Error::DeadlinePassed);
            }
        }
    }

    /// Queues a closure. The thread has to be told by a request.
    pub(crate) fn queue(&self, call: Call<V>) -> Result<(), Error> {
        let mut state = self.living()?;
        state.calls.push_back(call);
        self.tell(state);
        Ok(())
    }

    /// Queues who is to be told of the next immediate exit. The thread has to be told by a request.
    pub(crate) fn await_immediate_exit(&self, answer: Answer) -> Result<(), Error> {
        self.living()?.answers.push(answer);
        Ok(())
    }

    // ---- the vCPU's thread ----

    /// The thread begins; a pause that was asked for before holds at once.
    pub(crate) fn begin(&self) {
        self.set_phase(Phase::Running);
    }

    /// The closures that wait now. One that comes later has made its own request: were it taken
    /// here too, those who send them could keep everything else waiting for ever.
    pub(crate) fn take_calls(&self) -> VecDeque<Call<V>> {
        mem::take(&mut lock(&self.state).calls)
    }

    /// Those who wait for the immediate exit that is about to be made.
    pub(crate) fn take_answers(&self) -> Vec<Answer> {
        mem::take(&mut lock(&self.state).answers)
    }

    /// Stays paused until there is something to do. The phase is [`Phase::Paused`] meanwhile and
    /// while a closure runs.
    pub(crate) fn pause(&self) -> Paused<V> {
        let mut state = lock(&self.state);
        loop {
            match state.asked {
                Asked::Stop => return Paused::Stop,
                Asked::Run => {
                    state.phase = Phase::Running;
                    self.tell(state);
                    return Paused::Resume;
                }
                Asked::Pause => {}
            }
            if state.phase != Phase::Paused {
                state.phase = Phase::Paused;
                state.pauses = state.pauses.wrapping_add(1);
                self.tell(state);
                state = lock(&self.state);
                continue;
            }
            if let Some(call) = state.calls.pop_front() {
                return Paused::Call(call);
            }
            (state, _) = self.wait(state, Deadline::NEVER);
        }
    }

    /// The thread has come to its end. What it never did comes back: dropping it tells those who
    /// wait for it.
    #[must_use = "to be dropped when everybody else was told: what a closure owns may do anything"]
    pub(crate) fn end(&self, ending: Ending) -> NeverDone<V> {
        let mut state = lock(&self.state);
        if !matches!(state.phase, Phase::Ended(_)) {
            state.phase = Phase::Ended(ending);
        }
        let never_done = NeverDone {
            _calls: mem::take(&mut state.calls),
            _answers: mem::take(&mut state.answers),
        };
        self.tell(state);
        never_done
    }

    fn set_phase(&self, phase: Phase) {
        let mut state = lock(&self.state);
        state.phase = phase;
        self.tell(state);
    }
}
