// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One vCPU's word and the operations on it.
//!
//! Every change of the word is a read-modify-write. So the changes are in one order, each sees the
//! one before it, and a release of any of them is acquired by whichever comes later and acquires
//! (C++ calls the chain a release sequence; no plain store ever breaks it). `docs/PROTOCOL.md`
//! goes through the protocol step by step and gives the reason of each ordering used here.

use core::fmt;
use core::marker::PhantomData;

use crate::request::mask_of;
use crate::sync::{AtomicU64, Ordering};
use crate::word::{IN_GUEST, KICKED, LEAVE, REQUESTS, SLEEPING, WOKEN, Word};
use crate::{
    Flags, InGuest, Kick, Left, Made, Mode, NotEntered, Request, RequestSet, Sleeping, Ticket,
};

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

    // ---- any thread ----

    /// Makes `request`, and tells what the maker has to do for the vCPU to notice it.
    ///
    /// What was written before is visible to the vCPU when it finds the request with
    /// [`check`](Self::check) or [`take`](Self::take). Where no kick is needed, what the vCPU did in
    /// the guest before is visible to the maker.
    #[inline]
    pub fn make(&self, request: R) -> Made {
        let flags = request.flags();
        let mask = mask_of(request);
        let wakes = R::NO_WAKEUP_MASK & mask == 0;

        let mut set = KICKED;
        if wakes {
            set |= WOKEN;
        }
        if !flags.contains(Flags::NO_ACTION) {
            set |= u64::from(mask);
        }
        // Release: what the maker wrote. Acquire: what the vCPU did before it left, slept or
        // entered; of the last, above all that it cleared the skip flag.
        let before = Word(self.word.fetch_or(set, Ordering::AcqRel));

        let in_guest = before.has(IN_GUEST);
        let kick = if in_guest {
            if before.has(KICKED) {
                Kick::Coalesced
            } else {
                Kick::Signal
            }
        } else if wakes && before.has(SLEEPING) && !before.has(WOKEN) {
            Kick::Wake
        } else {
            Kick::NotNeeded
        };
        let wait = (in_guest && flags.contains(Flags::WAIT)).then(|| before.ticket());
        Made { kick, wait }
    }

    /// Whether the vCPU has left the stay in guest mode that `ticket`, from this vCPU, is about.
    ///
    /// If so, what it did there is visible.
    #[inline]
    pub fn has_left(&self, ticket: Ticket) -> bool {
        self.load(Ordering::Acquire).ticket() != ticket
    }

    /// Whether any request is pending. One relaxed load: it orders nothing, and may miss a request
    /// that is being made; [`enter`](Self::enter) does not.
    #[inline]
    pub fn pending(&self) -> bool {
        self.load(Ordering::Relaxed).request_bits() != 0
    }

    /// The requests that are pending. They stay so.
    pub fn pending_set(&self) -> RequestSet<R> {
        self.load(Ordering::Acquire).requests()
    }

    /// Whether `request` is pending. It stays so.
    #[inline]
    pub fn test(&self, request: R) -> bool {
        self.load(Ordering::Acquire).request_bits() & mask_of(request) != 0
    }

    /// Where the vCPU is, or was a moment ago.
    pub fn mode(&self) -> Mode {
        self.load(Ordering::Acquire).mode()
    }

    // ---- the vCPU's thread ----

    /// Whether `request` is pending; if so, it is not any more, and what its makers wrote before is
    /// visible. Costs a load where it is not pending.
    #[inline]
    pub fn check(&self, request: R) -> bool {
        let mask = mask_of(request);
        // Missing a request that is just being made does no harm: `enter` will not miss it.
        if self.load(Ordering::Relaxed).request_bits() & mask == 0 {
            return false;
        }
        let before = Word(self.word.fetch_and(!u64::from(mask), Ordering::Acquire));
        before.request_bits() & mask != 0
    }

    /// Drops `request` without looking: what its makers wrote need not be visible.
    #[inline]
    pub fn clear(&self, request: R) {
        self.word
            .fetch_and(!u64::from(mask_of(request)), Ordering::Relaxed);
    }

    /// All pending requests; none of them is pending any more, and what their makers wrote before
    /// is visible. Costs a load where there is none.
    #[inline]
    pub fn take(&self) -> RequestSet<R> {
        if !self.pending() {
            return RequestSet::new();
        }
        Word(self.word.fetch_and(!REQUESTS, Ordering::Acquire)).requests()
    }

    /// Goes into guest mode, if no request is pending: both in one operation, so that no request
    /// falls between. A request that comes later finds the vCPU in guest mode, and its maker learns
    /// that it must kick.
    ///
    /// The vCPU is out of guest mode again when the guard is dropped.
    ///
    /// # Errors
    /// [`NotEntered::Pending`]: handle them and try again. [`NotEntered::Busy`]: the vCPU is in
    /// guest mode or asleep.
    #[inline]
    pub fn enter(&self) -> Result<InGuest<'_, R>, NotEntered<R>> {
        self.move_inside(REQUESTS as u32, IN_GUEST)?;
        Ok(InGuest { requests: self })
    }

    /// Goes to sleep, if no request is pending that would wake the vCPU: both in one operation, so
    /// that no such request falls between. A request that comes later finds the vCPU asleep, and its
    /// maker learns that it must wake it.
    ///
    /// How a thread sleeps is the caller's business; it is to do so until
    /// [`Sleeping::is_woken`] says yes.
    ///
    /// # Errors
    /// [`NotEntered::Pending`]: handle them. [`NotEntered::Busy`]: the vCPU is in guest mode or
    /// asleep.
    pub fn sleep(&self) -> Result<Sleeping<'_, R>, NotEntered<R>> {
        self.move_inside(!R::NO_WAKEUP_MASK, SLEEPING)?;
        Ok(Sleeping { requests: self })
    }

    /// From outside to `mode`, unless a request of `unless` is pending.
    #[inline]
    fn move_inside(&self, unless: u32, mode: u64) -> Result<(), NotEntered<R>> {
        let mut before = self.load(Ordering::Relaxed);
        loop {
            if before.has(IN_GUEST | SLEEPING) {
                return Err(NotEntered::Busy(before.mode()));
            }
            let pending = before.request_bits() & unless;
            if pending != 0 {
                return Err(NotEntered::Pending(RequestSet::from_bits(pending)));
            }
            // What was marked while nobody had to be kicked or woken is void now.
            let after = before.0 & !(KICKED | WOKEN) | mode;
            // Release: what the vCPU's thread did before, for the maker that finds it inside.
            // Acquire: what makers wrote before they were told that no kick is needed.
            match self.word.compare_exchange_weak(
                before.0,
                after,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(now) => before = Word(now),
            }
        }
    }

    /// Out of guest mode. Only for the guard, which is the proof of being in it.
    #[inline]
    pub(crate) fn leave(&self) -> Left {
        // Release: what was done in the guest, for makers that wait. Acquire: what the one that
        // kicked wrote, also where the kick left no request to check. KICKED stays: outside it
        // means nothing, and `enter` clears it.
        let before = Word(self.word.fetch_add(LEAVE, Ordering::AcqRel));
        Left {
            kicked: before.has(KICKED),
        }
    }

    /// Whether a request that wakes was made since the vCPU went to sleep.
    #[inline]
    pub(crate) fn is_woken(&self) -> bool {
        self.load(Ordering::Acquire).has(WOKEN)
    }

    /// Out of sleep. Only for the guard, which is the proof of being asleep.
    pub(crate) fn wake_up(&self) {
        // Acquire: what the one that woke wrote, also where that left no request to check.
        self.word.fetch_and(!(SLEEPING | WOKEN), Ordering::Acquire);
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
