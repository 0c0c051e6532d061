// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Signals that make KVM_RUN return, again and again: a program without exits does not return by itself.

use std::mem;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

extern "C" fn ignore(_: libc::c_int) {}

/// Sends signals to the thread that made it, until it is dropped.
pub struct Kicks {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Kicks {
    /// Begins to kick this thread. A kick that comes outside KVM_RUN is lost, the next one is not.
    pub fn start() -> Self {
        let signal = libc::SIGRTMIN();
        handle(signal);
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
                    unsafe { libc::syscall(libc::SYS_tgkill, process, target, signal) };
                    thread::sleep(Duration::from_millis(5));
                }
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

/// Lets `signal` interrupt this thread's system calls, also where whoever started the test blocks it.
fn handle(signal: libc::c_int) {
    // SAFETY: all zeroes is a sigaction.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as usize;
    // SAFETY: the action is whole, and its handler does nothing.
    let ret = unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
    assert_eq!(ret, 0);
    // SAFETY: all zeroes is a signal set.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: the set is valid.
    unsafe { libc::sigemptyset(&raw mut set) };
    // SAFETY: the set is valid.
    unsafe { libc::sigaddset(&raw mut set, signal) };
    // SAFETY: the set is valid, and the old one is not asked for.
    let ret = unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut()) };
    assert_eq!(ret, 0);
}

impl Drop for Kicks {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
