// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guards: a vCPU that is in guest mode, and one that sleeps.

use core::fmt;
use core::mem;

use crate::{Request, VcpuRequests};

/// The vCPU is in guest mode for as long as this lives. From [`VcpuRequests::enter`].
///
/// Forgetting it (`mem::forget`) leaves the vCPU in guest mode for good: it cannot enter again, and
/// makers that wait for it wait for ever.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Whether somebody was told to kick the vCPU out, and so whether somebody may wait for this.
    ///
    /// The kick itself may come later than this, and then meet the vCPU outside guest mode or in its
    /// next stay.
    pub kicked: bool,
}

/// The vCPU is asleep for as long as this lives. From [`VcpuRequests::sleep`].
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
