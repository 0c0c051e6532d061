// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Who may be signalled, and until when.

use crate::Error;
use crate::gate::Interrupt;
use crate::sync::{Mutex, lock};

/// The thread that runs a vCPU, while it does.
///
/// A `pthread_t` or a thread id names nothing, or somebody else, once its thread has ended. So the
/// thread empties the slot before it ends, and whoever signals it holds the slot's lock meanwhile:
/// the thread cannot get past the emptying while a signal is being sent.
pub(crate) struct ThreadSlot<T>(Mutex<Option<T>>);

/// A thread that can be interrupted while it lives.
pub(crate) trait LiveThread {
    /// Interrupts a system call that it is in.
    ///
    /// # Safety
    /// The thread must not have ended.
    unsafe fn interrupt(&self) -> Result<(), Error>;
}

impl<T: LiveThread> ThreadSlot<T> {
    pub(crate) fn empty() -> Self {
        Self(Mutex::new(None))
    }

    /// Runs `run` with `thread` in the slot, and empties the slot when it returns or unwinds.
    ///
    /// # Safety
    /// `thread` must be the calling thread.
    pub(crate) unsafe fn while_running<O>(&self, thread: T, run: impl FnOnce() -> O) -> O {
        let _occupied = self.occupy(thread);
        run()
    }

    fn occupy(&self, thread: T) -> Occupied<'_, T> {
        *lock(&self.0) = Some(thread);
        Occupied(self)
    }
}

impl<T: LiveThread> Interrupt for ThreadSlot<T> {
    fn interrupt(&self) -> Result<(), Error> {
        match &*lock(&self.0) {
            // SAFETY: a thread is in the slot only while it is in `while_running`, which it cannot
            // get out of while the lock is held.
            Some(thread) => unsafe { thread.interrupt() },
            None => Ok(()),
        }
    }
}

/// The slot is occupied for as long as this lives.
struct Occupied<'a, T>(&'a ThreadSlot<T>);

impl<T> Drop for Occupied<'_, T> {
    fn drop(&mut self) {
        *lock(&self.0.0) = None;
    }
}
