// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How long a caller is ready to wait.

use std::time::{Duration, Instant};

/// The moment until which a caller waits for a vCPU's thread to answer.
///
/// ```
/// use std::time::Duration;
/// use vcpu_runner::Deadline;
///
/// assert_eq!(Deadline::NEVER.remaining(), None);
/// assert!(Deadline::after(Duration::from_secs(1)).remaining() <= Some(Duration::from_secs(1)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// Wait for as long as it takes.
    pub const NEVER: Self = Self(None);

    /// Wait for `duration` from now. One that the clock cannot represent is [`Self::NEVER`].
    pub fn after(duration: Duration) -> Self {
        Self(Instant::now().checked_add(duration))
    }

    /// Wait until `instant`.
    pub const fn at(instant: Instant) -> Self {
        Self(Some(instant))
    }

    /// What is left until the deadline: zero when it has passed, `None` when there is none.
    pub fn remaining(self) -> Option<Duration> {
        self.0
            .map(|instant| instant.saturating_duration_since(Instant::now()))
    }
}

impl From<Instant> for Deadline {
    fn from(instant: Instant) -> Self {
        Self::at(instant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_in_the_past_leaves_nothing() {
        let now = Instant::now();
        assert_eq!(Deadline::at(now).remaining(), Some(Duration::ZERO));
        assert_eq!(Deadline::from(now), Deadline::at(now));
    }

    #[test]
    fn a_time_that_the_clock_cannot_show_is_never() {
        assert_eq!(Deadline::after(Duration::MAX), Deadline::NEVER);
    }
}
