// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where the vCPU's thread notes that it has handled a kick, and when.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// A kick that is not handled for so long is lost.
pub const LOST: Duration = Duration::from_secs(10);

/// What the times on the boards are relative to.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The board of one contender.
#[derive(Debug, Default)]
pub struct Board {
    handled: AtomicU64,
    /// Nanoseconds.
    at: AtomicU64,
    /// Who sleeps until a kick is handled.
    sleeper: OnceLock<Thread>,
}

impl Board {
    /// The vCPU's thread has handled a kick.
    pub fn note(&self) {
        let now = START.elapsed().as_nanos() as u64;
        self.at.store(now, Ordering::Relaxed);
        // One writer. Release: the time belongs to the count.
        let handled = self.handled.load(Ordering::Relaxed) + 1;
        self.handled.store(handled, Ordering::Release);
        if let Some(sleeper) = self.sleeper.get() {
            sleeper.unpark();
        }
    }

    /// How many kicks were handled.
    pub fn handled(&self) -> u64 {
        self.handled.load(Ordering::Acquire)
    }

    /// When the last kick was handled, since the same moment as [`now`].
    pub fn at(&self) -> Duration {
        Duration::from_nanos(self.at.load(Ordering::Relaxed))
    }

    /// Sleeps until so many kicks are handled. Always on the same thread.
    ///
    /// It does not spin: on a machine that has other work, or one CPU, that would cost it the CPU
    /// when it comes to the next kick.
    pub fn wait(&self, handled: u64) {
        self.sleeper.get_or_init(thread::current);
        let start = Instant::now();
        while self.handled() < handled {
            assert!(start.elapsed() < LOST, "a kick was lost");
            thread::park_timeout(LOST);
        }
    }
}

/// The time, as the boards have it.
pub fn now() -> Duration {
    START.elapsed()
}
