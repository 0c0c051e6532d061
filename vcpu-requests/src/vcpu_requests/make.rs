// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What any thread does with a vCPU's word: make requests, and look.

use crate::request::mask_of;
use crate::sync::Ordering;
use crate::word::{IN_GUEST, KICKED, SLEEPING, WOKEN, Word};
use crate::{Flags, Kick, Made, Mode, Request, RequestSet, Ticket, VcpuRequests};

impl<R: Request> VcpuRequests<R> {
    /// Makes `request`, and tells what the maker has to do for the vCPU to notice it.
    ///
    /// What was written before is visible to the vCPU when it finds the request with
    /// [`check`](Self::check) or [`take`](Self::take). Where no kick is needed, what the vCPU did in
    /// the guest before is visible to the maker.
    ///
    /// ```
    /// # use vcpu_requests::*;
    /// # requests! { enum Ask { Event = 0, FlushTlb = 1: WAIT | NO_WAKEUP } }
    /// # let vcpu = VcpuRequests::<Ask>::new();
    ///
    /// # fn signal() {}
    /// # fn wake() {}
    /// let made = vcpu.make(Ask::FlushTlb);
    /// match made.kick {
    ///     Kick::NotNeeded | Kick::Coalesced => {}
    ///     Kick::Signal => signal(),
    ///     Kick::Wake => wake(),
    /// }
    /// # assert_eq!(made.wait, None);
    /// if let Some(ticket) = made.wait {
    ///     while !vcpu.has_left(ticket) { /* wait */ }
    /// }
    /// ```
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
    ///
    /// ```
    /// # use vcpu_requests::*;
    /// # requests! { enum Ask { Event = 0, FlushTlb = 1: WAIT | NO_WAKEUP } }
    /// # let vcpu = VcpuRequests::<Ask>::new();
    ///
    /// let guest = vcpu.enter().unwrap();
    /// let ticket = vcpu.make(Ask::FlushTlb).wait.unwrap();
    /// assert!(!vcpu.has_left(ticket));
    /// guest.leave();
    /// assert!(vcpu.has_left(ticket));
    /// ```
    #[inline]
    pub fn has_left(&self, ticket: Ticket) -> bool {
        self.load(Ordering::Acquire).ticket() != ticket
    }

    /// Whether any request is pending. One relaxed load: it orders nothing, and may miss a request
    /// that is being made; [`enter`](Self::enter) does not.
    ///
    /// ```
    /// # use vcpu_requests::*;
    /// # requests! { enum Ask { Event = 0, FlushTlb = 1: WAIT | NO_WAKEUP } }
    /// # let vcpu = VcpuRequests::<Ask>::new();
    ///
    /// assert!(!vcpu.pending());
    /// let _ = vcpu.make(Ask::Event);
    /// assert!(vcpu.pending());
    /// ```
    #[inline]
    pub fn pending(&self) -> bool {
        self.load(Ordering::Relaxed).request_bits() != 0
    }

    /// The requests that are pending. They stay so.
    ///
    /// ```
    /// # use vcpu_requests::*;
    /// # requests! { enum Ask { Event = 0, FlushTlb = 1: WAIT | NO_WAKEUP } }
    /// # let vcpu = VcpuRequests::<Ask>::new();
    ///
    /// let _ = vcpu.make(Ask::Event);
    /// assert_eq!(vcpu.pending_set(), RequestSet::from_iter([Ask::Event]));
    /// assert!(vcpu.pending());
    /// ```
    pub fn pending_set(&self) -> RequestSet<R> {
        self.load(Ordering::Acquire).requests()
    }

    /// Whether `request` is pending. It stays so.
    ///
    /// ```
    /// # use vcpu_requests::*;
    /// # requests! { enum Ask { Event = 0, FlushTlb = 1: WAIT | NO_WAKEUP } }
    /// # let vcpu = VcpuRequests::<Ask>::new();
    ///
    /// let _ = vcpu.make(Ask::Event);
    /// assert!(vcpu.test(Ask::Event) && !vcpu.test(Ask::FlushTlb));
    /// assert!(vcpu.test(Ask::Event));
    /// ```
    #[inline]
    pub fn test(&self, request: R) -> bool {
        self.load(Ordering::Acquire).request_bits() & mask_of(request) != 0
    }

    /// Where the vCPU is, or was a moment ago. Who sees it [`Outside`](Mode::Outside) sees what it did
    /// inside.
    ///
    /// ```
    /// # use vcpu_requests::*;
    /// # requests! { enum Ask { Event = 0, FlushTlb = 1: WAIT | NO_WAKEUP } }
    /// # let vcpu = VcpuRequests::<Ask>::new();
    ///
    /// let guest = vcpu.enter().unwrap();
    /// assert_eq!(vcpu.mode(), Mode::InGuest);
    /// drop(guest);
    /// assert_eq!(vcpu.mode(), Mode::Outside);
    /// ```
    pub fn mode(&self) -> Mode {
        self.load(Ordering::Acquire).mode()
    }
}
