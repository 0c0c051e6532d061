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
        write!(f, "{} vCPUs failed, the first: {}", self.count, self.first)
    }
}

impl<E: core::error::Error> core::error::Error for Failed<E> {}
