// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The signal that gets a vCPU's thread out of KVM_RUN.
//!
//! Its handler does nothing: that it runs at all makes KVM_RUN return EINTR. What was asked is in
//! the vCPU's word, and a signal that comes just before KVM_RUN is covered by the skip flag.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;

use crate::thread_slot::LiveThread;
use crate::{Error, UnusableSignal};

/// The signal used for kicks: a standard one, [`libc::SIGURG`] by default.
///
/// SIGURG, because its default action is to be ignored, hardly any library uses it (the Go runtime
/// does) and debuggers pass it through; a standard one, because sending it cannot fail, whereas a real-time signal needs
/// a free place in its user's queue (RLIMIT_SIGPENDING) and is refused with EAGAIN without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KickSignal(libc::c_int);

impl Default for KickSignal {
    fn default() -> Self {
        Self(libc::SIGURG)
    }
}

impl KickSignal {
    /// Another signal than SIGURG. Whatever it meant to the process before, it does no more.
    ///
    /// # Errors
    /// [`Error::UnusableSignal`] for real-time signals, for those that cannot be handled, and for
    /// those that report faults of the program.
    pub fn new(signal: libc::c_int) -> Result<Self, Error> {
        let reason = match signal {
            libc::SIGKILL
            | libc::SIGSTOP
            | libc::SIGSEGV
            | libc::SIGBUS
            | libc::SIGFPE
            | libc::SIGILL
            | libc::SIGTRAP
            | libc::SIGABRT
            | libc::SIGSYS => UnusableSignal::Reserved,
            1..=31 => return Ok(Self(signal)),
            _ if (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&signal) => {
                UnusableSignal::RealTime
            }
            _ => UnusableSignal::Invalid,
        };
        Err(Error::UnusableSignal { signal, reason })
    }

    /// The signal's number.
    pub const fn number(self) -> libc::c_int {
        self.0
    }

    /// Installs the empty handler, for the whole process. Again is no error.
    pub(crate) fn install(self) -> Result<(), Error> {
        let set_up = |source| Error::SetUpSignal {
            signal: self.0,
            source: Arc::new(source),
        };
        let mut old = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: the new action is null, so the call only writes the present one to `old`.
        let ret = unsafe { libc::sigaction(self.0, ptr::null(), old.as_mut_ptr()) };
        if ret != 0 {
            return Err(set_up(io::Error::last_os_error()));
        }
        // SAFETY: the call succeeded, so `old` is written; it was all zeroes before.
        let mut action = unsafe { old.assume_init() };
        let empty = on_kick as extern "C" fn(libc::c_int) as libc::sighandler_t;
        match action.sa_sigaction {
            handler if handler == empty => return Ok(()),
            libc::SIG_DFL | libc::SIG_IGN => {}
            _ => {
                return Err(Error::UnusableSignal {
                    signal: self.0,
                    reason: UnusableSignal::InUse,
                });
            }
        }
        action.sa_sigaction = empty;
        // Other system calls of a thread that is kicked go on by themselves. KVM_RUN does not: it
        // returns EINTR with and without.
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: `action` is a whole sigaction whose handler is async-signal-safe: it does
        // nothing.
        let ret = unsafe { libc::sigaction(self.0, &raw const action, ptr::null_mut()) };
        if ret != 0 {
            return Err(set_up(io::Error::last_os_error()));
        }
        Ok(())
    }

    /// The set that it is the only member of.
    pub(crate) fn set(self) -> libc::sigset_t {
        let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: sigemptyset writes a whole set to the pointer it is given.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: the set was made by sigemptyset; the number is a valid signal's.
        unsafe { libc::sigaddset(set.as_mut_ptr(), self.0) };
        // SAFETY: it is written, and was all zeroes before.
        unsafe { set.assume_init() }
    }

    /// Lets the calling thread receive it, whatever mask it inherited.
    pub(crate) fn unblock(self) -> Result<(), Error> {
        let set = self.set();
        // SAFETY: `set` is a whole signal set; the old mask is not asked for.
        let ret =
            unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut()) };
        if ret != 0 {
            return Err(Error::SetUpSignal {
                signal: self.0,
                source: Arc::new(io::Error::from_raw_os_error(ret)),
            });
        }
        Ok(())
    }
}

extern "C" fn on_kick(_signal: libc::c_int) {}

/// A thread and the signal that kicks it.
#[derive(Debug)]
pub(crate) struct SignalledThread {
    thread: libc::pthread_t,
    signal: KickSignal,
}

impl SignalledThread {
    /// The calling thread.
    pub(crate) fn current(signal: KickSignal) -> Self {
        Self {
            // SAFETY: pthread_self has no preconditions.
            thread: unsafe { libc::pthread_self() },
            signal,
        }
    }
}

impl LiveThread for SignalledThread {
    unsafe fn interrupt(&self) -> Result<(), Error> {
        // SAFETY: the caller says that the thread has not ended, so its pthread_t is valid.
        let ret = unsafe { libc::pthread_kill(self.thread, self.signal.0) };
        if ret == 0 {
            return Ok(());
        }
        Err(Error::SendSignal {
            signal: self.signal.0,
            source: Arc::new(io::Error::from_raw_os_error(ret)),
        })
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn only_standard_signals_are_taken() {
        let reason = |signal| match KickSignal::new(signal) {
            Err(Error::UnusableSignal { reason, .. }) => Some(reason),
            _ => None,
        };
        assert_eq!(reason(libc::SIGUSR1), None);
        assert_eq!(reason(libc::SIGURG), None);
        assert_eq!(reason(libc::SIGRTMIN()), Some(UnusableSignal::RealTime));
        assert_eq!(reason(libc::SIGRTMAX()), Some(UnusableSignal::RealTime));
        assert_eq!(reason(libc::SIGKILL), Some(UnusableSignal::Reserved));
        assert_eq!(reason(libc::SIGSEGV), Some(UnusableSignal::Reserved));
        for invalid in [0, -1, 32, 65, i32::MAX] {
            assert_eq!(reason(invalid), Some(UnusableSignal::Invalid), "{invalid}");
        }
    }

    #[test]
    fn a_signal_with_another_handler_is_refused_and_left_alone() {
        extern "C" fn theirs(_: libc::c_int) {}
        let theirs = theirs as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: the handler does nothing.
        unsafe { libc::signal(libc::SIGUSR2, theirs) };
        let signal = KickSignal::new(libc::SIGUSR2).unwrap();
        assert!(matches!(
            signal.install(),
            Err(Error::UnusableSignal {
                reason: UnusableSignal::InUse,
                ..
            })
        ));
        // SAFETY: back to the default action, which no other test relies on being otherwise.
        let found = unsafe { libc::signal(libc::SIGUSR2, libc::SIG_DFL) };
        assert_eq!(found, theirs);
    }

    #[test]
    fn installing_twice_is_installing_once() {
        let signal = KickSignal::default();
        signal.install().unwrap();
        signal.install().unwrap();
    }
}
