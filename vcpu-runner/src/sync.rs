// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The synchronization primitives that the protocol is made of: std's, or loom's when a model is
//! being checked (`--cfg loom`).

#[cfg(loom)]
pub(crate) use loom::sync::atomic::AtomicBool;
#[cfg(loom)]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::AtomicBool;
#[cfg(not(loom))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};

use std::sync::PoisonError;
use std::time::Duration;

use crate::Deadline;

/// Locks `mutex`. Nothing that can panic runs under the crate's locks, so what they guard is whole
/// even where a thread that held one was torn down.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits on `condvar` until it is notified, or `deadline` has passed: then the second value is
/// [`Expired::Yes`].
pub(crate) fn wait<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    deadline: Deadline,
) -> (MutexGuard<'a, T>, Expired) {
    match deadline.remaining() {
        None => (
            condvar.wait(guard).unwrap_or_else(PoisonError::into_inner),
            Expired::No,
        ),
        Some(Duration::ZERO) => (guard, Expired::Yes),
        Some(left) => {
            let (guard, _) = condvar
                .wait_timeout(guard, left)
                .unwrap_or_else(PoisonError::into_inner);
            // The caller looks at its condition first and at the clock again on the next call.
            (guard, Expired::No)
        }
    }
}

/// Whether a wait came back because its deadline had passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    No,
    Yes,
}
