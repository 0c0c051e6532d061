// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What making a request tells its maker.

/// What [`VcpuRequests::make`](crate::VcpuRequests::make) returns: what the maker still has to do.
///
/// ```
/// # use vcpu_requests::*;
/// # requests! { enum Ask { Event = 0, FlushTlb = 1: WAIT | NO_WAKEUP } }
/// # let vcpu = VcpuRequests::<Ask>::new();
///
/// let nothing = Made { kick: Kick::NotNeeded, wait: None };
/// assert_eq!(vcpu.make(Ask::FlushTlb), nothing);
/// # vcpu.take();
/// let guest = vcpu.enter().unwrap();
/// assert!(matches!(vcpu.make(Ask::FlushTlb), Made { kick: Kick::Signal, wait: Some(_) }));
/// # drop(guest);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a vCPU in guest mode does not notice a request unless its maker kicks it"]
pub struct Made {
    /// What the maker must do for the vCPU to notice.
    pub kick: Kick,
    /// What a maker with [`WAIT`](crate::Flags::WAIT) must wait for, after the kick: that
    /// [`has_left`](crate::VcpuRequests::has_left) says yes to it. `None` if the vCPU was not in
    /// guest mode, or the request is not a WAIT one.
    pub wait: Option<Ticket>,
}

/// What it takes for a vCPU to notice a request.
///
/// ```
/// # use vcpu_requests::*;
/// # requests! { enum Ask { Event = 0, FlushTlb = 1: WAIT | NO_WAKEUP } }
/// # let vcpu = VcpuRequests::<Ask>::new();
///
/// assert_eq!(vcpu.make(Ask::Event).kick, Kick::NotNeeded);
/// vcpu.take();
///
/// let guest = vcpu.enter().unwrap();
/// assert_eq!(vcpu.make(Ask::Event).kick, Kick::Signal);
/// assert_eq!(vcpu.make(Ask::FlushTlb).kick, Kick::Coalesced);
/// drop(guest);
/// vcpu.take();
///
/// let sleeping = vcpu.sleep().unwrap();
/// assert_eq!(vcpu.make(Ask::FlushTlb).kick, Kick::NotNeeded);
/// assert_eq!(vcpu.make(Ask::Event).kick, Kick::Wake);
/// # drop(sleeping);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "nobody else kicks for this request"]
pub enum Kick {
    /// Nothing: it looks before it enters again. (Or it sleeps, and is not to be woken.)
    NotNeeded,
    /// Nothing: it is in guest mode, and the maker of an earlier request kicks it.
    Coalesced,
    /// It is in guest mode, and this maker is the one who must kick it out.
    Signal,
    /// It sleeps, and this maker is the one who must wake it.
    Wake,
}

/// One stay in guest mode, of one vCPU: what a maker with [`WAIT`](crate::Flags::WAIT) waits for
/// the end of.
///
/// It is the vCPU's count of stays, modulo 2^28, so it tells one stay from the 2^28 - 1 that follow.
/// Should a maker not look for exactly a multiple of 2^28 stays (some minutes at the least) then it
/// waits for the end of one more; it never goes on too early.
///
/// ```
/// # use vcpu_requests::*;
/// # requests! { enum Ask { Event = 0, FlushTlb = 1: WAIT | NO_WAKEUP } }
/// # let vcpu = VcpuRequests::<Ask>::new();
///
/// let guest = vcpu.enter().unwrap();
/// let ticket: Ticket = vcpu.make(Ask::FlushTlb).wait.unwrap();
/// drop(guest);
/// vcpu.take();
///
/// // The next stay is another one.
/// let guest = vcpu.enter().unwrap();
/// assert!(vcpu.has_left(ticket));
/// # drop(guest);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    pub(crate) generation: u32,
}
