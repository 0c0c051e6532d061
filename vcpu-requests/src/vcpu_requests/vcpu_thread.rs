// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the vCPU's thread does with its word: find requests, and go in and out.

use crate::request::mask_of;
use crate::sync::Ordering;
use crate::word::{IN_GUEST, KICKED, LEAVE, REQUESTS, SLEEPING, WOKEN, Word};
use crate::{InGuest, Left, NotEntered, Request, RequestSet, Sleeping, VcpuRequests};

impl<R: Request> VcpuRequests<R> {
    /// Whether `request` is pending; if so, it is not any more, and what its makers wrote before is
    /// visible. Costs a load where it is not pending.
    ///
    /// ```
    /// # use vcpu_requests::*;
    /// # requests! { enum Ask { Event = 0, FlushTlb = 1: WAIT | NO_WAKEUP } }
    /// # let vcpu = VcpuRequests::<Ask>::new();
    ///
    /// let _ = vcpu.make(Ask::Event);
    /// assert!(vcpu.check(Ask::Event));
    /// assert!(!vcpu.check(Ask::Event));
    /// ```
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
    ///
    /// ```
    /// # use vcpu_requests::*;
    /// # requests! { enum Ask { Event = 0, FlushTlb = 1: WAIT | NO_WAKEUP } }
    /// # let vcpu = VcpuRequests::<Ask>::new();
    ///
    /// let _ = vcpu.make(Ask::Event);
    /// vcpu.clear(Ask::Event);
    /// assert!(!vcpu.pending());
    /// ```
    #[inline]
    pub fn clear(&self, request: R) {
        self.word
            .fetch_and(!u64::from(mask_of(request)), Ordering::Relaxed);
    }

    /// All pending requests; none of them is pending any more, and what their makers wrote before
    /// is visible. Costs a load where there is none.
    ///
    /// ```
    /// # use vcpu_requests::*;
    /// # requests! { enum Ask { Event = 0, FlushTlb = 1: WAIT | NO_WAKEUP } }
    /// # let vcpu = VcpuRequests::<Ask>::new();
    ///
    /// let _ = vcpu.make(Ask::FlushTlb);
    /// let _ = vcpu.make(Ask::Event);
    /// assert_eq!(format!("{:?}", vcpu.take()), "{Event, FlushTlb}");
    /// assert!(vcpu.take().is_empty());
    /// ```
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
    /// ```
    /// # use vcpu_requests::*;
    /// # requests! { enum Ask { Event = 0, FlushTlb = 1: WAIT | NO_WAKEUP } }
    /// # let vcpu = VcpuRequests::<Ask>::new();
    ///
    /// let _ = vcpu.make(Ask::Event);
    /// assert!(matches!(vcpu.enter(), Err(NotEntered::Pending(set)) if set.contains(Ask::Event)));
    ///
    /// vcpu.take();
    /// let guest = vcpu.enter().unwrap();
    /// assert!(matches!(vcpu.enter(), Err(NotEntered::Busy(Mode::InGuest))));
    /// # drop(guest);
    /// ```
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
    /// ```
    /// # use vcpu_requests::*;
    /// # requests! { enum Ask { Event = 0, FlushTlb = 1: WAIT | NO_WAKEUP } }
    /// # let vcpu = VcpuRequests::<Ask>::new();
    ///
    /// // Pending, but no reason to stay awake.
    /// let _ = vcpu.make(Ask::FlushTlb);
    /// let sleeping = vcpu.sleep().unwrap();
    /// assert!(!sleeping.is_woken());
    ///
    /// assert_eq!(vcpu.make(Ask::Event).kick, Kick::Wake);
    /// assert!(sleeping.is_woken());
    /// sleeping.wake_up();
    /// assert!(matches!(vcpu.sleep(), Err(NotEntered::Pending(_))));
    /// ```
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
        // Acquire: what the one that woke wrote, also where that left no request to check. WOKEN
        // stays: awake it means nothing, and `sleep` clears it.
        self.word.fetch_and(!SLEEPING, Ordering::Acquire);
    }
}
