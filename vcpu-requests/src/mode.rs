// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where a vCPU is, as makers of requests see it.

use core::fmt;

/// Where a vCPU is.
///
/// ```text
///              enter                    make
///   Outside ----------> InGuest ------------------> Exiting
///    |   ^                 |                           |
///    |   +-----------------+---------------------------+
///    |   ^                leave
///    |   | wake_up
///    +-> Sleeping
///   sleep
/// ```
///
/// ```
/// # use vcpu_requests::*;
/// # requests! { enum Ask { Event = 0, FlushTlb = 1: WAIT | NO_WAKEUP } }
/// # let vcpu = VcpuRequests::<Ask>::new();
///
/// assert_eq!(vcpu.mode(), Mode::Outside);
/// let guest = vcpu.enter().unwrap();
/// let _ = vcpu.make(Ask::Event);
/// assert_eq!(vcpu.mode().to_string(), "leaving guest mode");
/// # drop(guest);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// In the VMM: it looks at its requests before it enters or sleeps.
    Outside,
    /// In guest mode, or so close to it that only a kick makes it look.
    InGuest,
    /// In guest mode, and a kick is under way.
    Exiting,
    /// Asleep, until it is woken.
    Sleeping,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outside => "outside guest mode",
            Self::InGuest => "in guest mode",
            Self::Exiting => "leaving guest mode",
            Self::Sleeping => "asleep",
        })
    }
}
