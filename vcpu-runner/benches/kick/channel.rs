// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A model of a design in use: events go through a channel, answers come back through another. The
//! handler of the kick signal finds the vCPU's run area in thread-local storage and sets
//! `immediate_exit` in it; the thread clears it when KVM_RUN was interrupted, and looks into the
//! channel.

use std::cell::Cell;
use std::os::unix::thread::JoinHandleExt;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering, fence};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::bare::{BareVcpu, signal};
use crate::board::{Board, LOST};
use crate::contender::{Contender, Measured, kicks};
use crate::guest::Machine;
use crate::pace::Irregular;
use crate::placement::{Side, keep_on};

thread_local! {
    /// `immediate_exit` of the vCPU that this thread runs.
    static FLAG: Cell<*const AtomicU8> = const { Cell::new(ptr::null()) };
}

fn signal_number() -> libc::c_int {
    libc::SIGRTMIN()
}

extern "C" fn on_kick(_signal: libc::c_int) {
    let flag = FLAG.get();
    // SAFETY: it is null or what a `&'static AtomicU8` was.
    if let Some(flag) = unsafe { flag.as_ref() } {
        flag.store(1, Ordering::Relaxed);
        fence(Ordering::Acquire);
    }
}

enum Event {
    Pause,
    Resume,
    Stop,
}

enum Answer {
    /// The handler finds the flag from now on.
    Ready,
    Paused,
    Resumed,
}

/// A vCPU whose thread has a channel.
pub struct Channel {
    vcpu: Option<BareVcpu>,
    board: Arc<Board>,
}

impl Channel {
    pub fn new(machine: &Machine) -> Self {
        signal::handle(signal_number(), on_kick);
        Self {
            vcpu: Some(BareVcpu::new(&machine.kvm, machine.vcpu(0))),
            board: Arc::default(),
        }
    }
}

fn run(
    mut vcpu: BareVcpu,
    board: &Board,
    events: &Receiver<Event>,
    answers: &Sender<Answer>,
) -> BareVcpu {
    keep_on(Side::Vcpu);
    signal::here(signal_number(), signal::Here::Receive);
    let flag = vcpu.flag();
    FLAG.set(flag);
    answers.send(Answer::Ready).unwrap();
    loop {
        while vcpu.run() {}
        flag.store(0, Ordering::Relaxed);
        match events.try_recv() {
            Ok(Event::Pause) => {
                board.note();
                answers.send(Answer::Paused).unwrap();
                assert!(matches!(events.recv(), Ok(Event::Resume)));
                answers.send(Answer::Resumed).unwrap();
            }
            Ok(Event::Stop) => break,
            // Another signal, or a late one.
            Ok(Event::Resume) | Err(_) => {}
        }
    }
    FLAG.set(ptr::null());
    vcpu
}

impl Contender for Channel {
    fn name(&self) -> &'static str {
        "model: channel, flag set by the signal's handler"
    }

    fn batch(&mut self, count: usize, pace: &mut Irregular, measured: &mut Measured) {
        let vcpu = self.vcpu.take().unwrap();
        let (events, to_handle) = channel();
        let (to_answer, answers) = channel();
        let board = Arc::clone(&self.board);
        let handle = thread::spawn(move || run(vcpu, &board, &to_handle, &to_answer));
        let thread = handle.as_pthread_t();
        let send = |event| {
            events.send(event).unwrap();
            signal::send(thread, signal_number());
        };
        let answer = || answers.recv_timeout(LOST).unwrap();
        assert!(matches!(answer(), Answer::Ready));
        let kick = || {
            send(Event::Pause);
            assert!(matches!(answer(), Answer::Paused));
        };
        let release = || {
            send(Event::Resume);
            assert!(matches!(answer(), Answer::Resumed));
        };
        kicks(count, pace, &self.board, measured, kick, release);
        send(Event::Stop);
        self.vcpu = Some(handle.join().unwrap());
    }
}
