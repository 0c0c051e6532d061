// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Why a vCPU did not enter the guest, or did not go to sleep.

use core::fmt;

use crate::{Mode, Request, RequestSet};

/// Why [`enter`](crate::VcpuRequests::enter) or [`sleep`](crate::VcpuRequests::sleep) did not
/// happen. The word is as it was.
///
/// ```
/// # use vcpu_requests::*;
/// # requests! { enum Ask { Event = 0, FlushTlb = 1: WAIT | NO_WAKEUP } }
/// # let vcpu = VcpuRequests::<Ask>::new();
///
/// let _ = vcpu.make(Ask::Event);
/// let error = vcpu.enter().unwrap_err();
/// assert_eq!(error.to_string(), "requests are pending: {Event}");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum NotEntered<R> {
    /// These requests have to be handled first. They are still pending: use
    /// [`check`](crate::VcpuRequests::check) or [`take`](crate::VcpuRequests::take).
    ///
    /// From [`sleep`](crate::VcpuRequests::sleep): the requests that do not let the vCPU sleep.
    Pending(RequestSet<R>),
    /// The vCPU is somewhere else than outside guest mode: its other guard was not dropped yet.
    Busy(Mode),
}

impl<R: Request> fmt::Debug for NotEntered<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending(requests) => f.debug_tuple("Pending").field(requests).finish(),
            Self::Busy(mode) => f.debug_tuple("Busy").field(mode).finish(),
        }
    }
}

impl<R: Request> fmt::Display for NotEntered<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending(requests) => write!(f, "requests are pending: {requests:?}"),
            Self::Busy(mode) => write!(f, "the vCPU is {mode} already"),
        }
    }
}

impl<R: Request> core::error::Error for NotEntered<R> {}
