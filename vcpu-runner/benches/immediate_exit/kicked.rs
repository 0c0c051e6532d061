// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a VMM without an immediate exit does: it enters, and another thread kicks the vCPU out, again
//! where that came too early.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use vcpu_runner::{KickSignal, RunError, Vcpu};

use crate::contender::{Contender, Entered, Subject};
use crate::guest::Machine;

const IDLE: u32 = 0;
const WANTED: u32 = 1;
const DONE: u32 = 2;

pub struct Kicked {
    machine: Machine,
    wish: Arc<AtomicU32>,
    kicker: Option<JoinHandle<()>>,
}

extern "C" fn nothing(_: libc::c_int) {}

impl Kicked {
    pub fn new() -> Self {
        let signal = KickSignal::default().number();
        let handler = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: the handler does nothing.
        unsafe { libc::signal(signal, handler) };
        // SAFETY: the call has no preconditions.
        let vcpu_thread = unsafe { libc::pthread_self() };
        let wish = Arc::new(AtomicU32::new(IDLE));
        let seen = Arc::clone(&wish);
        let kicker = thread::spawn(move || {
            loop {
                match seen.load(Ordering::Acquire) {
                    IDLE => thread::yield_now(),
                    // SAFETY: the thread that is kicked joins this one before it ends.
                    WANTED => drop(unsafe { libc::pthread_kill(vcpu_thread, signal) }),
                    _ => return,
                }
            }
        });
        Self {
            machine: Machine::new(),
            wish,
            kicker: Some(kicker),
        }
    }
}

impl Contender for Kicked {
    fn name(&self) -> &'static str {
        "kick from another thread"
    }

    fn enter(&mut self, subject: Subject) -> Result<Entered, String> {
        self.machine.restart(subject);
        let mut missed = 0;
        let start = Instant::now();
        loop {
            self.wish.store(WANTED, Ordering::Release);
            let ran = self.machine.vcpu.run();
            self.wish.store(IDLE, Ordering::Release);
            assert!(matches!(ran, Err(RunError::Interrupted)), "{ran:?}");
            let events = self.machine.vcpu.fd().get_vcpu_events().unwrap();
            let instructions = self.machine.executed();
            let entered = match subject {
                Subject::Event => events.interrupt.injected == 0,
                Subject::Nothing => instructions > 0,
            };
            if entered {
                let time = start.elapsed();
                return Ok(Entered {
                    instructions,
                    time,
                    missed,
                });
            }
            missed += 1;
        }
    }
}

impl Drop for Kicked {
    fn drop(&mut self) {
        self.wish.store(DONE, Ordering::Release);
        if let Some(kicker) = self.kicker.take() {
            let _ = kicker.join();
        }
    }
}
