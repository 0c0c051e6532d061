// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The floor: bare KVM_RUN loops. What is asked and whether the thread is paused lie under a lock
//! with a condition variable, one for each thread.

use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

use crate::Contender;
use crate::bare::{BareVcpu, signal};
use crate::guest::Machine;

const SIGNAL: libc::c_int = libc::SIGUSR1;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Run,
    Pause,
    Stop,
}

struct State {
    asked: Asked,
    paused: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

fn run(mut vcpu: BareVcpu, shared: &Shared) {
    signal::here(SIGNAL, signal::Here::Receive);
    let flag = vcpu.flag();
    loop {
        // Before the lock is taken: whoever asks sets the flag after that.
        flag.store(0, Ordering::Relaxed);
        let mut state = shared.state.lock().unwrap();
        while state.asked == Asked::Pause {
            if !state.paused {
                state.paused = true;
                shared.changed.notify_all();
            }
            state = shared.changed.wait(state).unwrap();
        }
        state.paused = false;
        if state.asked == Asked::Stop {
            return;
        }
        drop(state);
        vcpu.run();
    }
}

struct Thread {
    shared: Arc<Shared>,
    flag: &'static AtomicU8,
    handle: JoinHandle<()>,
}

impl Thread {
    fn start(vcpu: BareVcpu) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                asked: Asked::Pause,
                paused: false,
            }),
            changed: Condvar::new(),
        });
        let flag = vcpu.flag();
        let handle = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || run(vcpu, &shared))
        };
        Self {
            shared,
            flag,
            handle,
        }
    }

    fn begin_pause(&self) {
        self.shared.state.lock().unwrap().asked = Asked::Pause;
        self.flag.store(1, Ordering::Release);
        signal::send(self.handle.as_pthread_t(), SIGNAL);
    }

    fn wait_paused(&self) {
        let mut state = self.shared.state.lock().unwrap();
        while !state.paused {
            state = self.shared.changed.wait(state).unwrap();
        }
    }

    /// To a thread that is paused.
    fn ask(&self, asked: Asked) {
        self.shared.state.lock().unwrap().asked = asked;
        self.shared.changed.notify_all();
    }
}

/// vCPUs in bare loops.
pub struct Floor(Vec<Thread>);

impl Floor {
    pub fn start(machine: &Machine, number: usize) -> Self {
        signal::handle(SIGNAL, signal::nothing);
        let start = |index| Thread::start(BareVcpu::new(&machine.kvm, machine.vcpu(index)));
        let threads: Vec<_> = (0..number).map(start).collect();
        threads.iter().for_each(Thread::wait_paused);
        Self(threads)
    }
}

impl Contender for Floor {
    fn name(&self) -> &'static str {
        "floor: bare KVM_RUN loops"
    }

    fn resume(&self, number: usize) {
        self.0[..number]
            .iter()
            .for_each(|thread| thread.ask(Asked::Run));
    }

    fn pause(&self, number: usize) {
        let threads = &self.0[..number];
        threads.iter().for_each(Thread::begin_pause);
        threads.iter().for_each(Thread::wait_paused);
    }

    fn end(self: Box<Self>) {
        for thread in &self.0 {
            thread.ask(Asked::Stop);
        }
        for thread in self.0 {
            thread.handle.join().unwrap();
        }
    }
}
