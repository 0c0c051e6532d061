// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One vCPU's word and the operations on it.
//!
//! Every change of the word is a read-modify-write. So the changes are in one order, each sees the
//! one before it, and a release of any of them is acquired by whichever comes later and acquires
//! (C++ calls the chain a release sequence; no plain store ever breaks it). `docs/PROTOCOL.md`
//! goes through the protocol step by step and gives the reason of each ordering used here.

use core::fmt;
use core::marker::PhantomData;

use crate::Request;
use crate::sync::{AtomicU64, Ordering};
use crate::word::Word;

mod make;
mod vcpu_thread;

/// What is asked of one vCPU, and where the vCPU is: one atomic word.
///
/// Any thread may [`make`](Self::make) requests. The vCPU's thread handles them, and
/// [`enter`](Self::enter)s the guest when none is left.
///
/// ```
/// use vcpu_requests::{Kick, NotEntered, VcpuRequests, requests};
///
/// requests! {
///     enum Ask { Event = 0, FlushTlb = 1: WAIT | NO_WAKEUP }
/// }
///
/// static VCPU: VcpuRequests<Ask> = VcpuRequests::new();
///
/// // Made while the vCPU is outside: it will look by itself.
/// assert_eq!(VCPU.make(Ask::Event).kick, Kick::NotNeeded);
///
/// let guest = loop {
///     match VCPU.enter() {
///         Ok(guest) => break guest,
///         Err(NotEntered::Pending(_)) => assert!(VCPU.check(Ask::Event)),
///         Err(busy) => panic!("{busy}"),
///     }
/// };
///
/// // Made while it is in the guest: the first maker kicks, the others need not.
/// let made = VCPU.make(Ask::FlushTlb);
/// assert_eq!(made.kick, Kick::Signal);
/// assert_eq!(VCPU.make(Ask::Event).kick, Kick::Coalesced);
///
/// // The kick gets the vCPU out; who waits for that learns it.
/// let ticket = made.wait.unwrap();
/// assert!(!VCPU.has_left(ticket));
/// assert!(guest.leave().kicked);
/// assert!(VCPU.has_left(ticket));
/// ```
pub struct VcpuRequests<R> {
    word: AtomicU64,
    // `fn`: no `R` is held, so this is Send and Sync whatever `R` is.
    requests: PhantomData<fn() -> R>,
}

impl<R: Request> VcpuRequests<R> {
    /// A vCPU outside guest mode of which nothing is asked.
    ///
    /// ```
    /// # use vcpu_requests::*;
    /// # requests! { enum Ask { Event = 0 } }
    /// static VCPUS: [VcpuRequests<Ask>; 4] = [const { VcpuRequests::new() }; 4];
    /// assert!(VCPUS.iter().all(|vcpu| vcpu.mode() == Mode::Outside && !vcpu.pending()));
    /// ```
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            requests: PhantomData,
        }
    }

    /// A vCPU outside guest mode of which nothing is asked.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            requests: PhantomData,
        }
    }

    #[inline]
    fn load(&self, order: Ordering) -> Word {
        Word(self.word.load(order))
    }
}

impl<R: Request> Default for VcpuRequests<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Request> fmt::Debug for VcpuRequests<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.load(Ordering::Relaxed);
        f.debug_struct("VcpuRequests")
            .field("mode", &word.mode())
            .field("pending", &word.requests::<R>())
            .field("generation", &word.ticket().generation)
            .finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
