// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A timer that interrupts the thread that it was started on, and no other.
//!
//! It sends a signal of its own, so that it is not taken for a kick. The signal is either taken by
//! an empty handler, or stays blocked outside of KVM_RUN and is fetched.

use std::io;
use std::mem::{self, MaybeUninit, size_of};
use std::os::fd::AsRawFd;
use std::ptr;
use std::thread::{self, ThreadId};
use std::time::Duration;

use kvm_bindings::KVMIO;
use kvm_ioctls::VcpuFd;

use crate::{Error, KickSignal};

/// `_IOW(KVMIO, 0x8b, struct kvm_signal_mask)`, which kvm-ioctls does not have.
const KVM_SET_SIGNAL_MASK: libc::c_ulong = (1 << 30 | 4 << 16 | KVMIO << 8 | 0x8b) as libc::c_ulong;

/// The size of the kernel's own signal set, in bytes. The C library's is larger.
const KERNEL_SIGSET: usize = 8;

/// `struct kvm_signal_mask` with a whole set.
#[repr(C)]
struct SignalMask {
    len: u32,
    set: [u8; KERNEL_SIGSET],
}

/// Who takes the timer's signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// A handler that does nothing; so it is sent again and again, this far apart, or one that came
    /// before KVM_RUN would have been the last.
    ByHandler {
        /// Not shorter than the host needs to take it: it would do nothing else.
        again: Duration,
    },
    /// KVM_RUN, which comes back, and then [`ThreadTimer::stop`].
    ByKvmRun,
}

/// The timer of one thread. It is made where it is first started, and anew where it is started by
/// another thread.
#[derive(Debug)]
pub(super) struct ThreadTimer {
    signal: KickSignal,
    timer: Option<Timer>,
    /// What the signal was on the thread before the timer was started, while it is.
    found: Option<Blocked>,
    /// Whether KVM_RUN has a signal mask of its own.
    masked: bool,
}

/// Whether the signal is blocked on a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blocked {
    Yes,
    No,
}

#[derive(Debug)]
struct Timer {
    id: libc::timer_t,
    /// Numbers of threads come again, so both.
    thread: (libc::pid_t, ThreadId),
}

// SAFETY: a timer's id is a number of the process, whatever the C library's type for it, and may be
// used by any thread.
unsafe impl Send for Timer {}

impl ThreadTimer {
    /// For an entry that something else is to end: ends it after `time` all the same.
    pub(super) fn start_backstop(
        &mut self,
        fd: &VcpuFd,
        time: Duration,
    ) -> Result<(), kvm_ioctls::Error> {
        // Far enough apart for any host, also one that is slow with signals.
        const APART: Duration = Duration::from_millis(5);
        let again = time.max(APART);
        self.start(fd, time, Taken::ByHandler { again })
    }

    /// A timer that sends `signal`, whose handler is installed.
    pub(super) fn new(signal: KickSignal) -> Result<Self, Error> {
        signal.install()?;
        Ok(Self {
            signal,
            timer: None,
            found: None,
            masked: false,
        })
    }

    /// Starts it: after `delay` the calling thread gets the signal.
    pub(super) fn start(
        &mut self,
        fd: &VcpuFd,
        delay: Duration,
        taken: Taken,
    ) -> Result<(), kvm_ioctls::Error> {
        let id = self.on_this_thread()?;
        let again = match taken {
            Taken::ByHandler { again } => {
                self.block(Blocked::No)?;
                again
            }
            Taken::ByKvmRun => {
                self.block(Blocked::Yes)?;
                self.mask_in_kvm_run(fd, true)?;
                Duration::ZERO
            }
        };
        set(id, delay, again)
    }

    /// Stops it. A signal that it has sent is gone then, too, and the thread as it was.
    pub(super) fn stop(&mut self, fd: &VcpuFd) -> Result<(), kvm_ioctls::Error> {
        let stopped = match &self.timer {
            Some(timer) => set(timer.id, Duration::ZERO, Duration::ZERO),
            None => Ok(()),
        };
        // Whatever else fails: with the mask left, the signal would be KVM_RUN's for ever.
        let unmasked = self.mask_in_kvm_run(fd, false);
        let restored = self.restore();
        stopped.and(unmasked).and(restored)
    }

    /// Fetches a signal that is left, and gives the thread its own mask again.
    fn restore(&mut self) -> Result<(), kvm_ioctls::Error> {
        let Some(found) = self.found.take() else {
            return Ok(());
        };
        self.fetch();
        self.set_blocked(found).map(drop)
    }

    fn on_this_thread(&mut self) -> Result<libc::timer_t, kvm_ioctls::Error> {
        // SAFETY: the call has no preconditions.
        let thread = (unsafe { libc::gettid() }, thread::current().id());
        if let Some(timer) = &self.timer
            && timer.thread == thread
        {
            return Ok(timer.id);
        }
        let timer = Timer::new(self.signal, thread)?;
        let id = timer.id;
        self.timer = Some(timer);
        Ok(id)
    }

    /// Blocks the signal on the calling thread, or does not, until [`Self::restore`]. Nothing is
    /// remembered from one time to the next: the mask is the thread's, not this vCPU's.
    fn block(&mut self, blocked: Blocked) -> Result<(), kvm_ioctls::Error> {
        let found = self.set_blocked(blocked)?;
        self.found.get_or_insert(found);
        Ok(())
    }

    /// Returns what it was before.
    fn set_blocked(&self, blocked: Blocked) -> Result<Blocked, kvm_ioctls::Error> {
        let how = match blocked {
            Blocked::Yes => libc::SIG_BLOCK,
            Blocked::No => libc::SIG_UNBLOCK,
        };
        let set = self.signal.set();
        let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: `set` is a whole signal set, and the old mask is written.
        let ret = unsafe { libc::pthread_sigmask(how, &raw const set, before.as_mut_ptr()) };
        if ret != 0 {
            return Err(kvm_ioctls::Error::new(ret));
        }
        // SAFETY: the set is written; the number is a signal's.
        match unsafe { libc::sigismember(before.as_ptr(), self.signal.number()) } {
            1 => Ok(Blocked::Yes),
            _ => Ok(Blocked::No),
        }
    }

    /// Takes the signal if it is pending.
    fn fetch(&self) {
        let set = self.signal.set();
        let now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `set` is a whole signal set; what the signal tells is not asked for. That none is
        // pending (EAGAIN) is as good.
        unsafe { libc::sigtimedwait(&raw const set, ptr::null_mut(), &raw const now) };
    }

    /// Lets KVM_RUN, and nothing else, be interrupted by the signal; or gives KVM_RUN the thread's
    /// own mask again.
    fn mask_in_kvm_run(&mut self, fd: &VcpuFd, masked: bool) -> Result<(), kvm_ioctls::Error> {
        if masked == self.masked {
            return Ok(());
        }
        let mask = match masked {
            true => Some(self.mask_without_signal()?),
            false => None,
        };
        let mask: *const SignalMask = mask.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: the file descriptor is a vCPU's; `mask` is null or a whole kvm_signal_mask with a
        // set of the length that it says.
        let ret = unsafe { libc::ioctl(fd.as_raw_fd(), KVM_SET_SIGNAL_MASK, mask) };
        if ret != 0 {
            return Err(kvm_ioctls::Error::last());
        }
        self.masked = masked;
        Ok(())
    }

    /// The thread's mask with this signal let through.
    fn mask_without_signal(&self) -> Result<SignalMask, kvm_ioctls::Error> {
        let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: with no new set, the call only writes the thread's mask to the pointer.
        let ret = unsafe { libc::pthread_sigmask(0, ptr::null(), set.as_mut_ptr()) };
        if ret != 0 {
            return Err(kvm_ioctls::Error::new(ret));
        }
        // SAFETY: the set is written by now, and was all zeroes before.
        let mut set = unsafe { set.assume_init() };
        // SAFETY: the set is a whole one, the number a signal's.
        unsafe { libc::sigdelset(&raw mut set, self.signal.number()) };
        let mut mask = SignalMask {
            len: KERNEL_SIGSET as u32,
            set: [0; KERNEL_SIGSET],
        };
        const { assert!(size_of::<libc::sigset_t>() >= KERNEL_SIGSET) };
        // SAFETY: both are at least KERNEL_SIGSET bytes long, and different objects; the C library's
        // set begins with the kernel's.
        unsafe {
            ptr::copy_nonoverlapping(
                (&raw const set).cast(),
                mask.set.as_mut_ptr(),
                KERNEL_SIGSET,
            );
        };
        Ok(mask)
    }
}

impl Timer {
    /// A timer that sends `signal` to `thread`, which is this process's.
    fn new(signal: KickSignal, thread: (libc::pid_t, ThreadId)) -> Result<Self, kvm_ioctls::Error> {
        // SAFETY: all bits zero are a sigevent.
        let mut event: libc::sigevent = unsafe { mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal.number();
        event.sigev_notify_thread_id = thread.0;
        let mut id = ptr::null_mut();
        // SAFETY: `event` is a whole sigevent, and `id` is written.
        let ret = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut id) };
        match ret {
            0 => Ok(Self { id, thread }),
            _ => Err(kvm_ioctls::Error::last()),
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: the timer was made by `new` and nobody else deletes it.
        unsafe { libc::timer_delete(self.id) };
    }
}

/// Sets the timer `id`: to fire after `first`, and then every `again`. Zero is never.
fn set(id: libc::timer_t, first: Duration, again: Duration) -> Result<(), kvm_ioctls::Error> {
    let spec = libc::itimerspec {
        it_value: timespec(first),
        it_interval: timespec(again),
    };
    // SAFETY: the timer exists, `spec` is a whole itimerspec, and the old one is not asked for.
    let ret = unsafe { libc::timer_settime(id, 0, &raw const spec, ptr::null_mut()) };
    match ret {
        0 => Ok(()),
        _ => Err(kvm_ioctls::Error::from(io::Error::last_os_error())),
    }
}

fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: duration.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    /// Whether the calling thread has `signal` blocked.
    fn is_blocked(signal: KickSignal) -> bool {
        let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: with no new set, the call only writes the thread's mask to the pointer.
        unsafe { libc::pthread_sigmask(0, ptr::null(), set.as_mut_ptr()) };
        // SAFETY: the set is written.
        unsafe { libc::sigismember(set.as_ptr(), signal.number()) == 1 }
    }

    #[test]
    fn a_signal_that_was_sent_is_gone_and_the_thread_as_it_was() {
        let signal = KickSignal::new(libc::SIGSTKFLT).unwrap();
        let mut timer = ThreadTimer::new(signal).unwrap();
        let id = timer.on_this_thread().unwrap();
        timer.block(Blocked::Yes).unwrap();
        assert!(is_blocked(signal));
        set(id, Duration::from_nanos(1), Duration::ZERO).unwrap();
        // Pending by now, or when this is over: fetched either way.
        thread::sleep(Duration::from_millis(1));
        let mask = timer.mask_without_signal().unwrap();
        let bit = signal.number() as usize - 1;
        assert_eq!(mask.set[bit / 8] & 1 << (bit % 8), 0);
        timer.restore().unwrap();
        assert!(!is_blocked(signal));

        // One who has it blocked keeps it so.
        let mut other = ThreadTimer::new(signal).unwrap();
        other.block(Blocked::Yes).unwrap();
        timer.block(Blocked::No).unwrap();
        assert!(!is_blocked(signal));
        timer.restore().unwrap();
        assert!(is_blocked(signal));
        other.restore().unwrap();
        assert!(!is_blocked(signal));
    }

    #[test]
    fn each_thread_has_a_timer_of_its_own() {
        let signal = KickSignal::new(libc::SIGSTKFLT).unwrap();
        let mut timer = ThreadTimer::new(signal).unwrap();
        let here = timer.on_this_thread().unwrap();
        assert_eq!(timer.on_this_thread().unwrap(), here);
        let before = timer.timer.as_ref().unwrap().thread;
        thread::scope(|scope| {
            scope.spawn(|| {
                timer.on_this_thread().unwrap();
                assert_ne!(timer.timer.as_ref().unwrap().thread, before);
            });
        });
    }
}
