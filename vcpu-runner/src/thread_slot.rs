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

    /// Puts `thread`, which must be the calling one, into the slot until the guard is dropped. The
    /// guard cannot leave the thread.
    pub(crate) fn occupy(&self, thread: T) -> Occupied<'_, T> {
        *lock(&self.0) = Some(thread);
        Occupied {
            slot: self,
            stays_on_its_thread: std::marker::PhantomData,
        }
    }
}

impl<T: LiveThread> Interrupt for ThreadSlot<T> {
    fn interrupt(&self) -> Result<(), Error> {
        match &*lock(&self.0) {
            // SAFETY: a thread is in the slot only while the guard that it made lives on its own
            // stack, and it cannot drop that guard while the lock is held.
            Some(thread) => unsafe { thread.interrupt() },
            None => Ok(()),
        }
    }
}

/// The slot is occupied by the thread that holds this.
pub(crate) struct Occupied<'a, T: LiveThread> {
    slot: &'a ThreadSlot<T>,
    /// Neither Send nor Sync.
    stays_on_its_thread: std::marker::PhantomData<*const ()>,
}

impl<T: LiveThread> Drop for Occupied<'_, T> {
    fn drop(&mut self) {
        *lock(&self.slot.0) = None;
    }
}
