// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The floor: a word, the byte `immediate_exit`, a signal whose handler does nothing. Less than this
//! loses kicks.

use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use crate::bare::{BareVcpu, signal};
use crate::board::Board;
use crate::contender::{Contender, Measured, kicks};
use crate::guest::Machine;
use crate::pace::Irregular;
use crate::placement::{Side, keep_on};

const SIGNAL: libc::c_int = libc::SIGUSR1;

/// What is asked: one bit each.
const NOTE: u32 = 1;
const STOP: u32 = 2;

/// A vCPU in a bare loop.
pub struct Floor {
    vcpu: Option<BareVcpu>,
    board: Arc<Board>,
    asked: Arc<AtomicU32>,
}

impl Floor {
    pub fn new(machine: &Machine) -> Self {
        signal::handle(SIGNAL, signal::nothing);
        Self {
            vcpu: Some(BareVcpu::new(&machine.kvm, machine.vcpu(0))),
            board: Arc::default(),
            asked: Arc::default(),
        }
    }
}

fn run(mut vcpu: BareVcpu, board: &Board, asked: &AtomicU32) -> BareVcpu {
    keep_on(Side::Vcpu);
    signal::here(SIGNAL, signal::Here::Receive);
    let flag = vcpu.flag();
    loop {
        flag.store(0, Ordering::Relaxed);
        // A read-modify-write: the store must not come after the look.
        match asked.swap(0, Ordering::AcqRel) {
            STOP => return vcpu,
            NOTE => board.note(),
            _ => {}
        }
        vcpu.run();
    }
}

impl Contender for Floor {
    fn name(&self) -> &'static str {
        "floor: bare KVM_RUN loop"
    }

    fn batch(&mut self, count: usize, pace: &mut Irregular, measured: &mut Measured) {
        let vcpu = self.vcpu.take().unwrap();
        let flag = vcpu.flag();
        let (board, asked) = (Arc::clone(&self.board), Arc::clone(&self.asked));
        let handle = thread::spawn(move || run(vcpu, &board, &asked));
        let (board, thread) = (&*self.board, handle.as_pthread_t());
        let ask = |what| {
            self.asked.store(what, Ordering::Release);
            flag.store(1, Ordering::Release);
            signal::send(thread, SIGNAL);
        };
        let kick = || {
            let due = board.handled() + 1;
            ask(NOTE);
            board.wait(due);
        };
        kicks(count, pace, board, measured, kick, || {});
        ask(STOP);
        self.vcpu = Some(handle.join().unwrap());
    }
}
