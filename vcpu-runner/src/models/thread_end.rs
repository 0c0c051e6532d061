// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A thread that has ended is not signalled.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use super::broken::loom_must_catch;
use super::machine::check;
use crate::Error;
use crate::gate::Interrupt;
use crate::thread_slot::{LiveThread, ThreadSlot};

/// A thread that knows whether it has ended.
#[derive(Clone)]
struct Mortal(Arc<AtomicBool>);

impl LiveThread for Mortal {
    unsafe fn interrupt(&self) -> Result<(), Error> {
        assert!(!self.0.load(Ordering::Relaxed), "signalled after its end");
        Ok(())
    }
}

#[test]
fn a_thread_that_has_ended_is_not_signalled() {
    check(7, || {
        let slot = Arc::new(ThreadSlot::empty());
        let maker = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || slot.interrupt().unwrap())
        };
        let thread = Mortal(Arc::new(AtomicBool::new(false)));
        // SAFETY: it stands for the calling thread, which ends in the next line.
        unsafe { slot.while_running(thread.clone(), || {}) };
        thread.0.store(true, Ordering::Relaxed);
        maker.join().unwrap();
    });
}

loom_must_catch!(
/// What a handle does that keeps a thread's id and asks a flag whether it still lives.
    a_flag_beside_a_kept_id_does_not_do,
    "signalled after its end",
    {
    check(7, || {
        let thread = Mortal(Arc::new(AtomicBool::new(false)));
        let lives = Arc::new(AtomicBool::new(true));
        let maker = {
            let (thread, lives) = (thread.clone(), Arc::clone(&lives));
            thread::spawn(move || {
                if lives.load(Ordering::Acquire) {
                    // SAFETY: it looked; that this is not enough is the point.
                    unsafe { thread.interrupt() }.unwrap();
                }
            })
        };
        lives.store(false, Ordering::Release);
        thread.0.store(true, Ordering::Relaxed);
        maker.join().unwrap();
    });
    }
);
