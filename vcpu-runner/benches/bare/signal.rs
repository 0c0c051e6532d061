// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Signals to threads.

use std::mem::MaybeUninit;
use std::ptr;

/// Has `signal` run `handler` from now on, on whichever thread it is sent to.
pub fn handle(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) {
    // SAFETY: all zeros is a value of this plain C type.
    let mut action = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
    action.sa_sigaction = handler as libc::sighandler_t;
    // SAFETY: `action` is whole, and the handlers of the benchmarks are async-signal-safe.
    let ret = unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
    assert_eq!(ret, 0);
}

/// A handler that does nothing: that it ran is what ends KVM_RUN.
pub extern "C" fn nothing(_signal: libc::c_int) {}

/// Sends `signal` to `thread`, which must not have been joined.
#[inline]
pub fn send(thread: libc::pthread_t, signal: libc::c_int) {
    // SAFETY: the caller has not joined the thread, so its pthread_t is valid.
    let ret = unsafe { libc::pthread_kill(thread, signal) };
    assert_eq!(ret, 0);
}

/// The set of this one signal.
pub fn set_of(signal: libc::c_int) -> libc::sigset_t {
    let mut set = MaybeUninit::zeroed();
    // SAFETY: sigemptyset writes a whole set to the pointer it is given.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: `set` was made by sigemptyset.
    unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
    // SAFETY: as above.
    unsafe { set.assume_init() }
}

/// Whether the calling thread receives a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Here {
    /// It does, whatever mask it has inherited.
    Receive,
    /// It stays pending.
    Block,
}

/// Has the calling thread receive `signal`, or not.
pub fn here(signal: libc::c_int, here: Here) {
    let how = match here {
        Here::Receive => libc::SIG_UNBLOCK,
        Here::Block => libc::SIG_BLOCK,
    };
    let set = set_of(signal);
    // SAFETY: `set` is a set; the old mask is not asked for.
    let ret = unsafe { libc::pthread_sigmask(how, &raw const set, ptr::null_mut()) };
    assert_eq!(ret, 0);
}
