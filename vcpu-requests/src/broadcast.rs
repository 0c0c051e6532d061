// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A request to many vCPUs at once: signal all, then wait for all.
//!
//! [`make_all_requests`] asks every vCPU and kicks those that need it, before anybody waits; then
//! [`wait_all`] waits for those that were in guest mode. So the vCPUs leave the guest side by side,
//! and the whole takes as long as the slowest of them. Nothing is locked in between, and nothing is
//! allocated: the caller says where the tickets are kept.
//!
//! vCPU threads may broadcast to one another: who waits is outside guest mode, so nobody waits for
//! it.
//!
//! ```
//! use std::convert::Infallible;
//! use std::thread::{self, Thread};
//!
//! use vcpu_requests::broadcast::{Target, make_all_requests, wait_all};
//! use vcpu_requests::{Ticket, VcpuRequests, requests};
//!
//! requests! {
//!     enum Ask { FlushTlb = 0: WAIT | NO_WAKEUP }
//! }
//!
//! /// A "vCPU" whose guest is that its thread is parked.
//! struct Vcpu {
//!     requests: VcpuRequests<Ask>,
//!     thread: Thread,
//! }
//!
//! impl Target for Vcpu {
//!     type Request = Ask;
//!     type Error = Infallible;
//!
//!     fn requests(&self) -> &VcpuRequests<Ask> {
//!         &self.requests
//!     }
//!
//!     fn signal(&self) -> Result<(), Infallible> {
//!         self.thread.unpark();
//!         Ok(())
//!     }
//!
//!     fn wake(&self) -> Result<(), Infallible> {
//!         self.thread.unpark();
//!         Ok(())
//!     }
//!
//!     fn wait(&self, ticket: Ticket) -> Result<(), Infallible> {
//!         while !self.requests.has_left(ticket) {
//!             thread::yield_now();
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # let vcpus = [(); 2].map(|()| Vcpu { requests: VcpuRequests::new(), thread: thread::current() });
//! # let guests = vcpus.each_ref().map(|vcpu| vcpu.requests.enter().unwrap());
//! let mut tickets = Vec::new();
//! make_all_requests(&vcpus, Ask::FlushTlb, &mut tickets)?;
//! # drop(guests);
//! wait_all(tickets)?;
//! # assert!(vcpus.iter().all(|vcpu| vcpu.requests.check(Ask::FlushTlb)));
//! # Ok::<(), vcpu_requests::broadcast::Failed<Infallible>>(())
//! ```

use core::fmt;
use core::iter::once;

use crate::{Kick, Request, Ticket, VcpuRequests};

/// A vCPU that can be kicked, woken and waited for.
pub trait Target {
    /// What can be asked of it.
    type Request: Request;

    /// What goes wrong when it is kicked, woken or waited for.
    type Error;

    /// Its word.
    fn requests(&self) -> &VcpuRequests<Self::Request>;

    /// Kicks it out of guest mode, without waiting for that.
    ///
    /// # Errors
    /// It could not be kicked.
    fn signal(&self) -> Result<(), Self::Error>;

    /// Wakes it, without waiting for that.
    ///
    /// # Errors
    /// It could not be woken.
    fn wake(&self) -> Result<(), Self::Error>;

    /// Waits until [`VcpuRequests::has_left`] says yes to `ticket`.
    ///
    /// # Errors
    /// It does not, and will not, or not in time.
    fn wait(&self, ticket: Ticket) -> Result<(), Self::Error>;
}

/// Makes `request` and kicks or wakes the vCPU if that is needed.
///
/// Returns what is left to [`wait`](Target::wait) for, if it is a WAIT request and the vCPU was in
/// guest mode.
///
/// # Errors
/// The vCPU could not be kicked or woken. The request stays made.
pub fn make_request<T: Target + ?Sized>(
    target: &T,
    request: T::Request,
) -> Result<Option<Ticket>, T::Error> {
    let made = target.requests().make(request);
    match made.kick {
        Kick::NotNeeded | Kick::Coalesced => {}
        Kick::Signal => target.signal()?,
        Kick::Wake => target.wake()?,
    }
    Ok(made.wait)
}

/// Makes `request` on every one of `targets`, and kicks or wakes those that need it. What
/// [`wait_all`] has to wait for is added to `tickets`.
///
/// # Errors
/// Some could not be kicked or woken; the others were, the request stays made on all of them, and
/// `tickets` has those that can be waited for.
pub fn make_all_requests<'a, T: Target + ?Sized + 'a>(
    targets: impl IntoIterator<Item = &'a T>,
    request: T::Request,
    tickets: &mut impl Extend<(&'a T, Ticket)>,
) -> Result<(), Failed<T::Error>> {
    let mut failed = None;
    for target in targets {
        match make_request(target, request) {
            Ok(Some(ticket)) => tickets.extend(once((target, ticket))),
            Ok(None) => {}
            Err(error) => Failed::add(&mut failed, error),
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Waits for all `tickets`.
///
/// # Errors
/// Some could not be waited for to the end; the others were.
pub fn wait_all<'a, T: Target + ?Sized + 'a>(
    tickets: impl IntoIterator<Item = (&'a T, Ticket)>,
) -> Result<(), Failed<T::Error>> {
    let mut failed = None;
    for (target, ticket) in tickets {
        if let Err(error) = target.wait(ticket) {
            Failed::add(&mut failed, error);
        }
    }
    failed.map_or(Ok(()), Err)
}

/// What went wrong on some of many vCPUs.
///
/// ```
/// use vcpu_requests::broadcast::Failed;
///
/// let failed = Failed { first: "vCPU 3 has ended", count: 2 };
/// assert_eq!(failed.to_string(), "vCPU 3 has ended (the first of 2 vCPUs that failed)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed<E> {
    /// The first error.
    pub first: E,
    /// How many vCPUs failed, that one included.
    pub count: usize,
}

impl<E> Failed<E> {
    fn add(failed: &mut Option<Self>, error: E) {
        match failed {
            Some(failed) => failed.count += 1,
            None => {
                *failed = Some(Self {
                    first: error,
                    count: 1,
                });
            }
        }
    }
}

impl<E: fmt::Display> fmt::Display for Failed<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => write!(f, "{}", self.first),
            count => write!(f, "{} (the first of {count} vCPUs that failed)", self.first),
        }
    }
}

impl<E: core::error::Error> core::error::Error for Failed<E> {}

#[cfg(all(test, not(loom)))]
mod tests {
    extern crate std;

    use core::cell::Cell;
    use std::format;
    use std::vec::Vec;

    use super::{Failed, Target, make_all_requests, wait_all};
    use crate::{Ticket, VcpuRequests};

    crate::requests! {
        enum Ask { Flush = 0: WAIT, Event = 1 }
    }

    /// Counts what is done to it, and may refuse all of it.
    struct Vcpu {
        requests: VcpuRequests<Ask>,
        refuses: Option<&'static str>,
        signals: Cell<u32>,
        wakes: Cell<u32>,
        waits: Cell<u32>,
    }

    impl Vcpu {
        fn new(refuses: Option<&'static str>) -> Self {
            Self {
                requests: VcpuRequests::new(),
                refuses,
                signals: Cell::new(0),
                wakes: Cell::new(0),
                waits: Cell::new(0),
            }
        }

        fn count(&self, what: &Cell<u32>) -> Result<(), &'static str> {
            what.set(what.get() + 1);
            self.refuses.map_or(Ok(()), Err)
        }
    }

    impl Target for Vcpu {
        type Request = Ask;
        type Error = &'static str;

        fn requests(&self) -> &VcpuRequests<Ask> {
            &self.requests
        }

        fn signal(&self) -> Result<(), &'static str> {
            self.count(&self.signals)
        }

        fn wake(&self) -> Result<(), &'static str> {
            self.count(&self.wakes)
        }

        fn wait(&self, _: Ticket) -> Result<(), &'static str> {
            self.count(&self.waits)
        }
    }

    #[test]
    fn each_vcpu_gets_what_it_needs_and_no_more() {
        let vcpus = [(); 3].map(|()| Vcpu::new(None));
        let [outside, inside, asleep] = &vcpus;
        let guest = inside.requests.enter().unwrap();
        let sleeping = asleep.requests.sleep().unwrap();

        let mut tickets = Vec::new();
        make_all_requests(&vcpus, Ask::Flush, &mut tickets).unwrap();
        make_all_requests(&vcpus, Ask::Event, &mut tickets).unwrap();
        assert_eq!(tickets.len(), 1);
        wait_all(tickets).unwrap();

        let done = |vcpu: &Vcpu| (vcpu.signals.get(), vcpu.wakes.get(), vcpu.waits.get());
        assert_eq!(done(outside), (0, 0, 0));
        assert_eq!(done(inside), (1, 0, 1));
        assert_eq!(done(asleep), (0, 1, 0));
        assert!(
            vcpus
                .iter()
                .all(|vcpu| vcpu.requests.pending_set().len() == 2)
        );
        drop((guest, sleeping));
    }

    #[test]
    fn one_that_fails_does_not_keep_the_others_from_being_asked() {
        let refusals = [None, Some("second"), Some("third"), None];
        let vcpus = refusals.map(Vcpu::new);
        let guests = vcpus.each_ref().map(|vcpu| vcpu.requests.enter().unwrap());

        let mut tickets = Vec::new();
        let error = make_all_requests(&vcpus, Ask::Flush, &mut tickets).unwrap_err();
        let expected = Failed {
            first: "second",
            count: 2,
        };
        assert_eq!(error, expected);
        assert_eq!(tickets.len(), 2);
        assert!(vcpus.iter().all(|vcpu| vcpu.signals.get() == 1));
        wait_all(tickets).unwrap();
        drop(guests);
    }

    #[test]
    fn failures_are_one_line() {
        let failed = |count| Failed {
            first: "vCPU 3 has ended",
            count,
        };
        assert_eq!(format!("{}", failed(1)), "vCPU 3 has ended");
        assert_eq!(
            format!("{}", failed(2)),
            "vCPU 3 has ended (the first of 2 vCPUs that failed)"
        );
    }

    #[test]
    fn one_that_cannot_be_waited_for_does_not_end_the_wait_for_the_others() {
        let vcpus = [Some("first"), None].map(Vcpu::new);
        let tickets: Vec<_> = vcpus
            .iter()
            .map(|vcpu| {
                let guest = vcpu.requests.enter().unwrap();
                let ticket = vcpu.requests.make(Ask::Flush).wait.unwrap();
                guest.leave();
                (vcpu, ticket)
            })
            .collect();
        assert_eq!(wait_all(tickets).unwrap_err().count, 1);
        assert!(vcpus.iter().all(|vcpu| vcpu.waits.get() == 1));
    }
}
