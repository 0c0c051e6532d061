// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guards: a vCPU that is in guest mode, and one that sleeps.

use core::fmt;
use core::mem;

use crate::{Request, VcpuRequests};

/// The vCPU is in guest mode for as long as this lives. From [`VcpuRequests::enter`].
///
/// Forgetting it (`mem::forget`) leaves the vCPU in guest mode for good: it cannot enter again, and
/// makers that wait for it wait for ever.
///
/// ```
/// # use vcpu_requests::*;
/// # requests! { enum Ask { Event = 0, FlushTlb = 1: WAIT | NO_WAKEUP } }
/// # let vcpu = VcpuRequests::<Ask>::new();
///
/// # fn kvm_run() {}
/// let guest = vcpu.enter().unwrap();
/// kvm_run();
/// assert!(!guest.leave().kicked);
/// ```
#[must_use = "the vCPU is out of guest mode again as soon as this is dropped"]
pub struct InGuest<'a, R: Request> {
    pub(crate) requests: &'a VcpuRequests<R>,
}

impl<R: Request> InGuest<'_, R> {
    /// Leaves guest mode.
    #[inline]
    pub fn leave(self) -> Left {
        let left = self.requests.leave();
        mem::forget(self);
        left
    }
}

impl<R: Request> Drop for InGuest<'_, R> {
    #[inline]
    fn drop(&mut self) {
        self.requests.leave();
    }
}

impl<R: Request> fmt::Debug for InGuest<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InGuest").field(self.requests).finish()
    }
}

/// How a stay in guest mode ended.
///
/// ```
/// # use vcpu_requests::*;
/// # requests! { enum Ask { Event = 0, FlushTlb = 1: WAIT | NO_WAKEUP } }
/// # let vcpu = VcpuRequests::<Ask>::new();
///
/// let guest = vcpu.enter().unwrap();
/// assert_eq!(vcpu.make(Ask::Event).kick, Kick::Signal);
/// if guest.leave().kicked {
///     // Somebody may wait for this: a good place to notify.
/// }
/// # assert!(vcpu.check(Ask::Event));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Whether somebody was told to kick the vCPU out, and so whether somebody may wait for this.
    ///
    /// The kick itself may come later than this, and then meet the vCPU outside guest mode or in its
    /// next stay.
    pub kicked: bool,
}

/// The vCPU is asleep for as long as this lives. From [`VcpuRequests::sleep`].
///
/// ```
/// # use vcpu_requests::*;
/// # requests! { enum Ask { Event = 0 } }
/// use std::sync::{Condvar, Mutex};
///
/// # static VCPU: VcpuRequests<Ask> = VcpuRequests::new();
/// static BELL: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
///
/// # let maker = std::thread::spawn(|| {
/// // The maker. It takes the lock, so that the sleeper has either not looked yet, or waits.
/// if VCPU.make(Ask::Event).kick == Kick::Wake {
///     drop(BELL.0.lock().unwrap());
///     BELL.1.notify_one();
/// }
/// # });
/// // The vCPU's thread.
/// if let Ok(sleeping) = VCPU.sleep() {
///     let mut guard = BELL.0.lock().unwrap();
///     while !sleeping.is_woken() {
///         guard = BELL.1.wait(guard).unwrap();
///     }
///     sleeping.wake_up();
/// }
/// assert!(VCPU.check(Ask::Event));
/// # maker.join().unwrap();
/// ```
#[must_use = "the vCPU is awake again as soon as this is dropped"]
pub struct Sleeping<'a, R: Request> {
    pub(crate) requests: &'a VcpuRequests<R>,
}

impl<R: Request> Sleeping<'_, R> {
    /// Whether the vCPU's thread is to stop sleeping: a request that wakes was made since it went to
    /// sleep. Stays so until it has woken up.
    #[inline]
    pub fn is_woken(&self) -> bool {
        self.requests.is_woken()
    }

    /// Ends the sleep, woken or not.
    pub fn wake_up(self) {
        drop(self);
    }
}

impl<R: Request> Drop for Sleeping<'_, R> {
    fn drop(&mut self) {
        self.requests.wake_up();
    }
}

impl<R: Request> fmt::Debug for Sleeping<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sleeping").field(self.requests).finish()
    }
}
