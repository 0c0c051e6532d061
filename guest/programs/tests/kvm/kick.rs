// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Signals that make KVM_RUN return, again and again: a program without exits does not return by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const SIGNAL: libc::c_int = libc::SIGUSR1;

extern "C" fn ignore(_: libc::c_int) {}

/// Sends signals to the thread that made it, until it is dropped.
pub struct Kicks {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Kicks {
    /// Begins to kick this thread. One that comes outside KVM_RUN is lost, the next one is not.
    pub fn start() -> Self {
        // SAFETY: all zeroes is a sigaction.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as usize;
        // SAFETY: the action is whole, and its handler does nothing.
        let ret = unsafe { libc::sigaction(SIGNAL, &raw const action, std::ptr::null_mut()) };
        assert_eq!(ret, 0);
        // SAFETY: it has no preconditions.
        let process = unsafe { libc::getpid() };
        // SAFETY: it has no preconditions.
        let target = unsafe { libc::gettid() };
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                while !stop.load(Ordering::Relaxed) {
                    // SAFETY: it has no preconditions; the signal's handler does nothing.
                    unsafe { libc::syscall(libc::SYS_tgkill, process, target, SIGNAL) };
                    thread::sleep(Duration::from_millis(2));
                }
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Kicks {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
