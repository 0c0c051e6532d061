// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A model of a design in use: flags say what is asked, a signal is sent, and as it may come between
//! the look at the flags and KVM_RUN, who kicks looks every millisecond whether it was noticed, and
//! sends it again after ten.

use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::bare::{BareVcpu, signal};
use crate::board::Board;
use crate::contender::{Contender, Measured, kicks};
use crate::guest::Machine;
use crate::pace::Irregular;
use crate::placement::{Side, keep_on};

const LOOK_EVERY: Duration = Duration::from_millis(1);
const LOOKS_A_SIGNAL: u32 = 10;

fn signal_number() -> libc::c_int {
    libc::SIGRTMIN() + 1
}

#[derive(Default)]
struct Flags {
    pause: AtomicBool,
    stop: AtomicBool,
    /// The thread is not in KVM_RUN.
    interrupted: AtomicBool,
}

/// A vCPU whose thread has flags.
pub struct Resignal {
    vcpu: Option<BareVcpu>,
    board: Arc<Board>,
}

impl Resignal {
    pub fn new(machine: &Machine) -> Self {
        signal::handle(signal_number(), signal::nothing);
        Self {
            vcpu: Some(BareVcpu::new(&machine.kvm, machine.vcpu(0))),
            board: Arc::default(),
        }
    }
}

fn run(mut vcpu: BareVcpu, board: &Board, flags: &Flags) -> BareVcpu {
    keep_on(Side::Vcpu);
    signal::here(signal_number(), signal::Here::Receive);
    loop {
        if flags.pause.load(Ordering::SeqCst) {
            board.note();
            flags.interrupted.store(true, Ordering::SeqCst);
            while flags.pause.load(Ordering::SeqCst) {
                thread::park();
            }
            flags.interrupted.store(false, Ordering::SeqCst);
        }
        if flags.stop.load(Ordering::SeqCst) {
            flags.interrupted.store(true, Ordering::SeqCst);
            return vcpu;
        }
        vcpu.run();
    }
}

/// Sends the signal until the thread has noticed.
fn interrupt(thread: libc::pthread_t, flags: &Flags) {
    loop {
        signal::send(thread, signal_number());
        for _ in 0..LOOKS_A_SIGNAL {
            if flags.interrupted.load(Ordering::SeqCst) {
                return;
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

impl Contender for Resignal {
    fn name(&self) -> &'static str {
        "model: flags, looked at every 1 ms, signal again after 10"
    }

    fn batch(&mut self, count: usize, pace: &mut Irregular, measured: &mut Measured) {
        let vcpu = self.vcpu.take().unwrap();
        let flags = Arc::new(Flags::default());
        let handle = {
            let (board, flags) = (Arc::clone(&self.board), Arc::clone(&flags));
            thread::spawn(move || run(vcpu, &board, &flags))
        };
        let thread = handle.as_pthread_t();
        let kick = || {
            flags.pause.store(true, Ordering::SeqCst);
            interrupt(thread, &flags);
        };
        let release = || {
            flags.pause.store(false, Ordering::SeqCst);
            handle.thread().unpark();
            // Not part of the design: the next kick must not take this one's mark for its own.
            while flags.interrupted.load(Ordering::SeqCst) {
                thread::yield_now();
            }
        };
        kicks(count, pace, &self.board, measured, kick, release);
        flags.stop.store(true, Ordering::SeqCst);
        interrupt(thread, &flags);
        self.vcpu = Some(handle.join().unwrap());
    }
}
