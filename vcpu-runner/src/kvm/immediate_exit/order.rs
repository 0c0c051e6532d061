// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which mechanism is preferred to which.

use super::mechanism::Mechanism;

/// The mechanisms that may be used, best first. Of these the first is taken whose preconditions are
/// met at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MechanismOrder {
    /// Where an event is to be delivered with the entry.
    pub with_event: Vec<Mechanism>,
    /// Where none is.
    pub without_event: Vec<Mechanism>,
    /// Whether a single step that meets the delivery of an event was seen to stop in its handler.
    /// Where it was not, [`Mechanism::Step`] is never used with an event.
    pub steps_through_delivery: bool,
    /// Whether a single step of guest user code was seen to work. Where it was not, user code is not
    /// stepped.
    pub steps_user_code: bool,
}

impl MechanismOrder {
    /// One that works on every host, unmeasured: timers only.
    pub fn unmeasured() -> Self {
        Self {
            with_event: vec![Mechanism::BlockedSignal, Mechanism::Timer],
            without_event: vec![Mechanism::BlockedSignal, Mechanism::Timer],
            steps_through_delivery: false,
            steps_user_code: false,
        }
    }

    /// This mechanism and no other, for measuring and testing it.
    pub fn only(mechanism: Mechanism) -> Self {
        Self {
            with_event: vec![mechanism],
            without_event: vec![mechanism],
            steps_through_delivery: true,
            steps_user_code: true,
        }
    }
}
