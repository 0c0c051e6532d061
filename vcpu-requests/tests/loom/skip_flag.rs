// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The skip flag (`kvm_run.immediate_exit`) and a signal make a kick that always ends the entry.
//!
//! The crate knows neither; this is how they are to be used with it.

use std::mem;
use std::sync::Arc;

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use vcpu_requests::{Kick, NotEntered};

use crate::{Ask, VcpuRequests, loom_finds};

/// When the vCPU's thread clears the skip flag.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clear {
    /// Before it looks at requests, as it has to.
    BeforeCheck,
    /// Broken: after it found that there are none.
    AfterCheck,
}

/// What KVM knows of one vCPU, whose guest exits by itself in the first stay and never again.
struct Kvm {
    skip: AtomicBool,
    thread: Mutex<Thread>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thread {
    /// A signal that arrives has its handler run, which does nothing.
    InUserSpace,
    /// In KVM_RUN, which a signal ends.
    InKvmRun,
    /// A signal came while in KVM_RUN.
    Interrupted,
}

impl Kvm {
    /// KVM_RUN begins. Whether it goes on: the skip flag is not set.
    fn begin_run(&self) -> bool {
        *self.thread.lock().unwrap() = Thread::InKvmRun;
        // Relaxed: the protocol needs no more.
        !self.skip.load(Ordering::Relaxed)
    }

    fn end_run(&self) {
        *self.thread.lock().unwrap() = Thread::InUserSpace;
    }

    fn kick(&self) {
        self.skip.store(true, Ordering::Relaxed);
        let mut thread = self.thread.lock().unwrap();
        if *thread == Thread::InKvmRun {
            *thread = Thread::Interrupted;
        }
    }
}

/// Where the vCPU's thread comes to rest.
enum Rest {
    /// It found the request.
    Found,
    /// It is in KVM_RUN until a signal comes.
    InKvmRun,
}

fn run(word: &VcpuRequests, kvm: &Kvm, clear: Clear) -> Rest {
    let mut exits_by_itself = true;
    loop {
        if clear == Clear::BeforeCheck {
            kvm.skip.store(false, Ordering::Relaxed);
        }
        if word.check(Ask::Event) {
            return Rest::Found;
        }
        let guest = match word.enter() {
            Ok(guest) => guest,
            Err(NotEntered::Pending(_)) => continue,
            Err(busy) => panic!("{busy}"),
        };
        if clear == Clear::AfterCheck {
            kvm.skip.store(false, Ordering::Relaxed);
        }
        if kvm.begin_run() && !exits_by_itself {
            mem::forget(guest);
            return Rest::InKvmRun;
        }
        exits_by_itself = false;
        kvm.end_run();
        guest.leave();
    }
}

/// The vCPU finds the request, or the kick ends its KVM_RUN.
fn the_kick_arrives(clear: Clear) {
    let word = Arc::new(VcpuRequests::new());
    let kvm = Arc::new(Kvm {
        skip: AtomicBool::new(false),
        thread: Mutex::new(Thread::InUserSpace),
    });
    let vcpu = thread::spawn({
        let (word, kvm) = (word.clone(), kvm.clone());
        move || run(&word, &kvm, clear)
    });
    if word.make(Ask::Event).kick == Kick::Signal {
        kvm.kick();
    }
    if let Rest::InKvmRun = vcpu.join().unwrap() {
        let thread = *kvm.thread.lock().unwrap();
        assert_eq!(
            thread,
            Thread::Interrupted,
            "lost: the kick came to nothing"
        );
    }
}

#[test]
fn a_kick_always_ends_the_entry() {
    loom::model(|| the_kick_arrives(Clear::BeforeCheck));
}

#[test]
fn broken_flag_cleared_after_the_check_is_caught() {
    loom_finds("lost: the kick came to nothing", || {
        the_kick_arrives(Clear::AfterCheck)
    });
}
