// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The entry protocol: how a vCPU goes into the guest so that whatever is asked of it either is
//! seen before, or gets it out again.
//!
//! ```text
//! vCPU's thread                         maker
//!   1 clear the skip flag, if set         a make the request     (one word: bits and mode)
//!   2 handle requests                     b only if `a` says so:   set the skip flag
//!   3 enter: "none pending" -> IN_GUEST   c                        send the signal
//!   4 KVM_RUN
//!   5 leave: IN_GUEST -> OUTSIDE
//! ```
//!
//! `a` and 3 are atomic operations on one word, so one comes first. If `a` does, 3 fails and the
//! request is handled. If 3 does, the maker learns from `a` that the vCPU is in guest mode and that
//! it, and nobody else, has to kick; since 1 came before 3, the flag that `b` sets is not cleared
//! any more before KVM_RUN. KVM_RUN then sees the flag, or, where it looked before `b`, is
//! interrupted by `c`, which comes after `b`. No order loses the kick, and none needs a second one.

use std::sync::atomic::Ordering;

use vcpu_requests::{InGuest, Kick, Left, NotEntered, Request, Sleeping, Ticket, VcpuRequests};

use crate::loop_request::LoopRequest;
use crate::statistics::Counters;
use crate::sync::{AtomicBool, Condvar, Expired, Mutex, lock, wait};
use crate::{Deadline, Error, SkipFlag};

/// The doorway of one vCPU, shared by its thread and the makers.
pub(crate) struct Gate<R, S, T> {
    requests: VcpuRequests<LoopRequest<R>>,
    skip: S,
    thread: T,
    /// The signal of a kick could not be sent: it is owed to the vCPU, and whoever finds that kick
    /// under way has to try again.
    owed: AtomicBool,
    counters: Counters,
    /// How many threads sleep on `moved`: to notify costs a system call, whether anybody sleeps or
    /// not. Held by nobody for longer than it takes to look.
    bell: Mutex<u32>,
    /// Rung when the vCPU has left guest mode after a kick, and when it is to wake up.
    moved: Condvar,
}

/// A thread that can be sent the kick signal, for as long as it lives.
pub(crate) trait Interrupt {
    /// Gets it out of KVM_RUN; does nothing once it has ended.
    fn interrupt(&self) -> Result<(), Error>;
}

impl<R: Request, S: SkipFlag, T: Interrupt> Gate<R, S, T> {
    pub(crate) fn new(skip: S, thread: T) -> Self {
        Self {
            requests: VcpuRequests::new(),
            skip,
            thread,
            owed: AtomicBool::new(false),
            counters: Counters::new(),
            bell: Mutex::new(0),
            moved: Condvar::new(),
        }
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn thread(&self) -> &T {
        &self.thread
    }

    pub(crate) fn requests(&self) -> &VcpuRequests<LoopRequest<R>> {
        &self.requests
    }

    /// Makes `request` and does what it takes to have it noticed: steps a, b and c.
    ///
    /// Returns a ticket to [`wait`](Self::wait) for, if the request is a WAIT one and the vCPU is
    /// in guest mode.
    pub(crate) fn make(&self, request: LoopRequest<R>) -> Result<Option<Ticket>, Error> {
        let made = self.requests.make(request);
        match made.kick {
            Kick::NotNeeded => {}
            Kick::Coalesced => {
                if self.owed.load(Ordering::Acquire) {
                    self.kick()?;
                }
                self.counters.kicks_coalesced.count();
            }
            Kick::Signal => {
                self.kick()?;
                self.counters.kicks_sent.count();
            }
            Kick::Wake => {
                self.ring();
                self.counters.wake_ups.count();
            }
        }
        Ok(made.wait)
    }

    /// Steps b and c.
    fn kick(&self) -> Result<(), Error> {
        self.skip.set();
        let sent = self.thread.interrupt();
        self.owed.store(sent.is_err(), Ordering::Release);
        sent
    }

    /// Waits until the vCPU has left the guest mode that `ticket` is about.
    pub(crate) fn wait(&self, ticket: Ticket, deadline: Deadline) -> Result<(), Error> {
        self.sleep_until(deadline, || self.requests.has_left(ticket))
    }

    /// Sleeps until `come` says yes, looking whenever the bell rings.
    fn sleep_until(&self, deadline: Deadline, come: impl Fn() -> bool) -> Result<(), Error> {
        let mut bell = lock(&self.bell);
        *bell += 1;
        let mut expired = Expired::No;
        let result = loop {
            if come() {
                break Ok(());
            }
            if expired == Expired::Yes {
                break Err(Error::DeadlinePassed);
            }
            (bell, expired) = wait(&self.moved, bell, deadline);
        };
        *bell -= 1;
        result
    }

    /// Step 1. Only the vCPU's thread calls this, and only outside guest mode.
    ///
    /// Only needed where the flag may be set: at the beginning, after a stay that was kicked, and
    /// after one that was interrupted, by the flag of a late kick perhaps.
    pub(crate) fn open(&self) {
        self.skip.clear();
    }

    /// Makes the next KVM_RUN finish pending I/O and nothing else, until [`open`](Self::open). Only
    /// the vCPU's thread calls this, outside guest mode.
    pub(crate) fn shut(&self) {
        self.skip.set();
    }

    /// Step 3. Where requests are pending they come back as the error, and there is no step 4.
    pub(crate) fn enter(&self) -> Result<Stay<'_, R, S, T>, NotEntered<LoopRequest<R>>> {
        let guest = self.requests.enter()?;
        self.counters.entries.count();
        Ok(Stay { gate: self, guest })
    }

    /// After a stay that was kicked.
    #[cold]
    fn kicked_out(&self) {
        self.owed.store(false, Ordering::Relaxed);
        self.ring();
    }

    /// Sleeps until a request comes that is to wake the vCPU.
    ///
    /// Where there is one, it does not sleep and they come back as the error.
    pub(crate) fn sleep(&self) -> Result<(), NotEntered<LoopRequest<R>>> {
        let sleeping: Sleeping<'_, _> = self.requests.sleep()?;
        // Without a deadline it comes back for no other reason.
        let _ = self.sleep_until(Deadline::NEVER, || sleeping.is_woken());
        sleeping.wake_up();
        Ok(())
    }

    /// Tells everybody who waits that the vCPU's mode or its wake-up mark has changed.
    ///
    /// What they look at was changed before; taking the lock means that each of them either looks
    /// after that or is counted, and waiting already.
    pub(crate) fn ring(&self) {
        let anybody = *lock(&self.bell) != 0;
        if anybody {
            self.moved.notify_all();
        }
    }
}

/// The vCPU is in guest mode. Should what runs it panic, dropping this leaves guest mode; the
/// thread's end rings the bell.
pub(crate) struct Stay<'a, R: Request, S, T> {
    gate: &'a Gate<R, S, T>,
    guest: InGuest<'a, LoopRequest<R>>,
}

impl<R: Request, S: SkipFlag, T: Interrupt> Stay<'_, R, S, T> {
    /// Step 5.
    pub(crate) fn leave(self) -> Left {
        let left = self.guest.leave();
        if left.kicked {
            self.gate.kicked_out();
        }
        left
    }
}

/// Steps 3 to 5 around something that is not worth its own match.
#[cfg(test)]
impl<R: Request, S: SkipFlag, T: Interrupt> Gate<R, S, T> {
    /// Where requests are pending, `run` is not called and they come back as the error.
    pub(crate) fn pass<O>(
        &self,
        run: impl FnOnce() -> O,
    ) -> Result<(O, Left), NotEntered<LoopRequest<R>>> {
        let stay = self.enter()?;
        let output = run();
        Ok((output, stay.leave()))
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    use vcpu_requests::requests;

    use super::*;

    requests! {
        enum Ask {
            One = 0,
            Other = 1,
        }
    }

    #[derive(Default)]
    struct Flag(AtomicBool);

    impl SkipFlag for Flag {
        fn set(&self) {
            self.0.store(true, Ordering::Relaxed);
        }

        fn clear(&self) {
            self.0.store(false, Ordering::Relaxed);
        }
    }

    /// A thread that some may not signal: a seccomp filter holds for one thread only.
    struct FailsTimes {
        left: AtomicU32,
        received: AtomicU32,
    }

    impl Interrupt for FailsTimes {
        fn interrupt(&self) -> Result<(), Error> {
            let count = |left: u32| left.checked_sub(1);
            let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
            if self.left.fetch_update(set, fetch, count).is_ok() {
                return Err(Error::SendSignal {
                    signal: libc::SIGURG,
                    source: Arc::new(io::Error::from_raw_os_error(libc::EPERM)),
                });
            }
            self.received.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    fn gate(failures: u32) -> Gate<Ask, Flag, FailsTimes> {
        let thread = FailsTimes {
            left: AtomicU32::new(failures),
            received: AtomicU32::new(0),
        };
        Gate::new(Flag::default(), thread)
    }

    #[test]
    fn a_signal_that_could_not_be_sent_is_owed_by_the_next_maker() {
        let gate = gate(2);
        gate.open();
        let made = gate.pass(|| {
            let one = gate.make(LoopRequest::User(Ask::One));
            let same = gate.make(LoopRequest::User(Ask::One));
            let other = gate.make(LoopRequest::User(Ask::Other));
            let last = gate.make(LoopRequest::User(Ask::Other));
            (one.is_err(), same.is_err(), other.is_err(), last.is_err())
        });
        // The first two cannot signal and say so; the third does, and the fourth need not.
        assert_eq!(made.unwrap().0, (true, true, false, false));
        assert_eq!(gate.thread.received.load(Ordering::Relaxed), 1);
        assert!(gate.skip.0.load(Ordering::Relaxed));
    }

    #[test]
    fn what_was_owed_to_one_entry_is_not_to_the_next() {
        let gate = gate(1);
        gate.open();
        gate.pass(|| gate.make(LoopRequest::Kick).unwrap_err())
            .unwrap();
        gate.open();
        gate.pass(|| gate.make(LoopRequest::Kick).unwrap()).unwrap();
        assert_eq!(gate.thread.received.load(Ordering::Relaxed), 1);
    }
}
