// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A model of a design in use: the kick signal is blocked but in KVM_RUN (KVM_SET_SIGNAL_MASK), so
//! that one which comes before KVM_RUN stays pending and ends it. Afterwards it is taken with
//! sigtimedwait until none is left. Who kicks waits on a condition variable.

use std::os::fd::AsRawFd;
use std::os::unix::thread::JoinHandleExt;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::{io, thread};

use kvm_bindings::KVMIO;

use crate::bare::{BareVcpu, signal};
use crate::board::Board;
use crate::contender::{Contender, Measured, kicks};
use crate::guest::Machine;
use crate::pace::Irregular;
use crate::placement::{Side, keep_on};

const SIGNAL: libc::c_int = libc::SIGUSR2;

/// `_IOW(KVMIO, 0x8b, struct kvm_signal_mask)`, whose size is that of its one fixed field.
const KVM_SET_SIGNAL_MASK: libc::c_ulong = (1 << 30 | 4 << 16 | KVMIO << 8 | 0x8b) as libc::c_ulong;

/// `struct kvm_signal_mask` with the kernel's set of signals.
#[repr(C)]
struct SignalMask8 {
    len: u32,
    set: [u8; 8],
}

const NOTE: u32 = 1;
const STOP: u32 = 2;

#[derive(Default)]
struct Shared {
    board: Board,
    asked: AtomicU32,
    /// How many kicks were handled.
    done: Mutex<u64>,
    more_done: Condvar,
}

/// A vCPU that has the signal blocked.
pub struct SignalMask {
    vcpu: Option<BareVcpu>,
    shared: Arc<Shared>,
}

impl SignalMask {
    pub fn new(machine: &Machine) -> Self {
        signal::handle(SIGNAL, signal::nothing);
        let vcpu = BareVcpu::new(&machine.kvm, machine.vcpu(0));
        // In KVM_RUN nothing is blocked.
        let mask = SignalMask8 {
            len: 8,
            set: [0; 8],
        };
        // SAFETY: the descriptor is a vCPU's, and `mask` has as many bytes as it says.
        let ret = unsafe { libc::ioctl(vcpu.fd.as_raw_fd(), KVM_SET_SIGNAL_MASK, &raw const mask) };
        assert_eq!(
            ret,
            0,
            "KVM_SET_SIGNAL_MASK: {}",
            io::Error::last_os_error()
        );
        Self {
            vcpu: Some(vcpu),
            shared: Arc::default(),
        }
    }
}

/// Takes the signal until none is pending.
fn consume() {
    let set = signal::set_of(SIGNAL);
    let at_once = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    loop {
        // SAFETY: `set` and `at_once` are live; what came is not asked for.
        unsafe { libc::sigtimedwait(&raw const set, ptr::null_mut(), &raw const at_once) };
        let mut pending = signal::set_of(SIGNAL);
        // SAFETY: `pending` is a set to be overwritten.
        unsafe { libc::sigpending(&raw mut pending) };
        // SAFETY: `pending` is a set.
        if unsafe { libc::sigismember(&raw const pending, SIGNAL) } == 0 {
            return;
        }
    }
}

fn run(mut vcpu: BareVcpu, shared: &Shared) -> BareVcpu {
    keep_on(Side::Vcpu);
    signal::here(SIGNAL, signal::Here::Block);
    loop {
        match shared.asked.swap(0, Ordering::AcqRel) {
            STOP => return vcpu,
            NOTE => {
                shared.board.note();
                *shared.done.lock().unwrap() += 1;
                shared.more_done.notify_all();
            }
            _ => {}
        }
        if !vcpu.run() {
            consume();
        }
    }
}

impl Contender for SignalMask {
    fn name(&self) -> &'static str {
        "model: KVM_SET_SIGNAL_MASK, signal taken afterwards"
    }

    fn batch(&mut self, count: usize, pace: &mut Irregular, measured: &mut Measured) {
        let vcpu = self.vcpu.take().unwrap();
        let handle = {
            let shared = Arc::clone(&self.shared);
            thread::spawn(move || run(vcpu, &shared))
        };
        let (shared, thread) = (&*self.shared, handle.as_pthread_t());
        let ask = |what| {
            shared.asked.store(what, Ordering::Release);
            signal::send(thread, SIGNAL);
        };
        let kick = || {
            let mut done = shared.done.lock().unwrap();
            let due = *done + 1;
            ask(NOTE);
            while *done < due {
                done = shared.more_done.wait(done).unwrap();
            }
        };
        kicks(count, pace, &shared.board, measured, kick, || {});
        ask(STOP);
        self.vcpu = Some(handle.join().unwrap());
    }
}
