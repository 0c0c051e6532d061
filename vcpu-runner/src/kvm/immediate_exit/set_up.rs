// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a vCPU is given so that it can make immediate exits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::guest_ram::GuestRam;
use super::interrupt_window::Pic;
use super::mechanism::Mechanism;
use super::order::MechanismOrder;
use crate::{Error, KickSignal};

/// How often an entry is tried before it is given up, unless told otherwise. A miss costs some
/// microseconds; the number is for a thread that is interrupted all the time.
const ATTEMPTS: u32 = 1000;

/// Time after which an entry ends that its mechanism has not ended, unless told otherwise.
const BACKSTOP: Duration = Duration::from_millis(20);

/// What a vCPU needs for immediate exits.
#[derive(Clone)]
pub struct ImmediateExitSetUp {
    pub(super) order: MechanismOrder,
    pub(super) ram: Arc<dyn GuestRam>,
    pub(super) pic: Pic,
    pub(super) signal: Option<KickSignal>,
    pub(super) attempts: u32,
    pub(super) backstop: Duration,
}

impl ImmediateExitSetUp {
    /// With the mechanisms in `order`, for a guest with this memory whose PIC is in the kernel.
    ///
    /// The order is that of the host's [`HostMechanisms`](super::HostMechanisms), or one's own.
    pub fn new(order: MechanismOrder, ram: Arc<dyn GuestRam>) -> Self {
        Self {
            order,
            ram,
            pic: Pic::InKernel,
            signal: None,
            attempts: ATTEMPTS,
            backstop: BACKSTOP,
        }
    }

    /// Who emulates the PIC. Only where KVM does not is there an interrupt window.
    #[must_use]
    pub fn pic(mut self, pic: Pic) -> Self {
        self.pic = pic;
        self
    }

    /// The signal of the vCPU's timer: SIGSTKFLT, which nothing else uses, unless told otherwise.
    #[must_use]
    pub fn signal(mut self, signal: KickSignal) -> Self {
        self.signal = Some(signal);
        self
    }

    /// How often an entry is tried before it is given up, at least once.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// After which time an entry ends that its mechanism has not ended, a microsecond at least.
    #[must_use]
    pub fn backstop(mut self, backstop: Duration) -> Self {
        // Zero would be never.
        self.backstop = backstop.max(Duration::from_micros(1));
        self
    }

    pub(super) fn timer_signal(&self) -> Result<KickSignal, Error> {
        match self.signal {
            Some(signal) => Ok(signal),
            None => KickSignal::new(libc::SIGSTKFLT),
        }
    }

    /// The mechanisms to be tried, best first.
    pub(super) fn mechanisms(&self, with_event: bool) -> &[Mechanism] {
        match with_event {
            true => &self.order.with_event,
            false => &self.order.without_event,
        }
    }
}

impl fmt::Debug for ImmediateExitSetUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImmediateExitSetUp")
            .field("order", &self.order)
            .field("pic", &self.pic)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}
