// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A sleeping vCPU is woken, by one maker, unless the request is a NO_WAKEUP one.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use vcpu_requests::{Kick, NotEntered};

use crate::{Ask, VcpuRequests, loom_finds};

/// The two operations that meet.
trait Word: Send + Sync + 'static {
    fn new() -> Self;
    /// Makes a request that wakes; whether a sleeper has to be told.
    fn make(&self) -> bool;
    /// Whether the vCPU went to sleep.
    fn sleep(&self) -> bool;
}

/// Either the vCPU sees the request and does not sleep, or the maker wakes it.
fn either_seen_or_woken<W: Word>() {
    let word = Arc::new(W::new());
    let vcpu = thread::spawn({
        let word = word.clone();
        move || word.sleep()
    });
    let must_wake = word.make();
    let asleep = vcpu.join().unwrap();
    assert!(must_wake || !asleep, "lost: asleep, and nobody wakes");
    assert!(asleep || !must_wake, "a wake-up that nobody needs");
}

impl Word for VcpuRequests {
    fn new() -> Self {
        VcpuRequests::new()
    }

    fn make(&self) -> bool {
        match self.make(Ask::Event).kick {
            Kick::Wake => true,
            Kick::NotNeeded => false,
            other => panic!("{other:?}"),
        }
    }

    fn sleep(&self) -> bool {
        match self.sleep() {
            Ok(sleeping) => {
                std::mem::forget(sleeping);
                true
            }
            Err(NotEntered::Pending(_)) => false,
            Err(busy) => panic!("{busy}"),
        }
    }
}

#[test]
fn a_request_is_seen_before_the_sleep_or_wakes() {
    loom::model(either_seen_or_woken::<VcpuRequests>);
}

/// Broken: the sleep is announced after the last look.
struct LookThenSleep {
    bits: AtomicU32,
    asleep: AtomicBool,
}

impl Word for LookThenSleep {
    fn new() -> Self {
        Self {
            bits: AtomicU32::new(0),
            asleep: AtomicBool::new(false),
        }
    }

    fn make(&self) -> bool {
        self.bits.fetch_or(1, Ordering::AcqRel);
        self.asleep.load(Ordering::Acquire)
    }

    fn sleep(&self) -> bool {
        let pending = self.bits.load(Ordering::Acquire) != 0;
        if !pending {
            self.asleep.store(true, Ordering::Release);
        }
        !pending
    }
}

#[test]
fn broken_look_then_sleep_is_caught() {
    loom_finds(
        "lost: asleep, and nobody wakes",
        either_seen_or_woken::<LookThenSleep>,
    );
}

/// A vCPU that sleeps until it has handled an Event gets it, whatever a NO_WAKEUP request does at the
/// same time. Loom reports one that sleeps on as a deadlock.
#[test]
fn a_sleeper_is_woken_and_not_by_no_wakeup() {
    loom::model(|| {
        let word = Arc::new(VcpuRequests::new());
        let bell = Arc::new((Mutex::new(()), Condvar::new()));
        let makers = [Ask::Event, Ask::FlushTlb].map(|ask| {
            let (word, bell) = (word.clone(), bell.clone());
            thread::spawn(move || {
                let kick = word.make(ask).kick;
                if kick == Kick::Wake {
                    // Who looked before the lock is free is waiting by then.
                    drop(bell.0.lock().unwrap());
                    bell.1.notify_one();
                }
                kick
            })
        });

        while !word.check(Ask::Event) {
            let Ok(sleeping) = word.sleep() else {
                continue;
            };
            let mut guard = bell.0.lock().unwrap();
            while !sleeping.is_woken() {
                guard = bell.1.wait(guard).unwrap();
            }
            drop(guard);
            sleeping.wake_up();
            assert!(word.test(Ask::Event), "woken for nothing");
        }

        let [event, flush] = makers.map(|maker| maker.join().unwrap());
        assert!(matches!(event, Kick::Wake | Kick::NotNeeded));
        assert_eq!(flush, Kick::NotNeeded);
    });
}

/// Two makers, one sleep: one of them is told to wake, the other is not.
#[test]
fn one_wake_up_per_sleep() {
    loom::model(|| {
        let word = Arc::new(VcpuRequests::new());
        std::mem::forget(word.sleep().unwrap());
        let other = thread::spawn({
            let word = word.clone();
            move || word.make(Ask::Event).kick
        });
        let kicks = [word.make(Ask::Timer).kick, other.join().unwrap()];
        assert!(
            kicks == [Kick::Wake, Kick::NotNeeded] || kicks == [Kick::NotNeeded, Kick::Wake],
            "{kicks:?}"
        );
    });
}

/// NO_ACTION leaves no request for the vCPU to find. It is about something else that the maker has
/// changed: the sleeper sees the change when it looks before it really sleeps, or it is woken.
#[test]
fn a_wake_up_without_a_request_is_not_missed() {
    loom::model(|| {
        let word = Arc::new(VcpuRequests::new());
        let changed = Arc::new(AtomicBool::new(false));
        let vcpu = thread::spawn({
            let (word, changed) = (word.clone(), changed.clone());
            move || {
                std::mem::forget(word.sleep().unwrap());
                changed.load(Ordering::Relaxed)
            }
        });
        changed.store(true, Ordering::Relaxed);
        let kick = word.make(Ask::Poke).kick;
        let seen = vcpu.join().unwrap();
        assert!(seen || kick == Kick::Wake, "asleep with the old state");
    });
}

/// A sleeper that learns that it is woken, or wakes up after it was, sees the change too.
#[test]
fn who_is_woken_sees_why() {
    loom::model(|| {
        let word = Arc::new(VcpuRequests::new());
        let changed = Arc::new(AtomicBool::new(false));
        let vcpu = thread::spawn({
            let (word, changed) = (word.clone(), changed.clone());
            move || {
                let sleeping = word.sleep().unwrap();
                let woken = sleeping.is_woken();
                let seen_asleep = changed.load(Ordering::Relaxed);
                sleeping.wake_up();
                (woken, seen_asleep, changed.load(Ordering::Relaxed))
            }
        });
        changed.store(true, Ordering::Relaxed);
        let kick = word.make(Ask::Poke).kick;
        let (woken, seen_asleep, seen_awake) = vcpu.join().unwrap();
        assert!(seen_asleep || !woken);
        assert!(seen_awake || kick != Kick::Wake);
    });
}

/// Who is told to wake a vCPU sees what that did before it went to sleep.
#[test]
fn who_wakes_sees_what_came_before_the_sleep() {
    loom::model(|| {
        let word = Arc::new(VcpuRequests::new());
        let halted = Arc::new(AtomicBool::new(false));
        let vcpu = thread::spawn({
            let (word, halted) = (word.clone(), halted.clone());
            move || {
                halted.store(true, Ordering::Relaxed);
                if let Ok(sleeping) = word.sleep() {
                    std::mem::forget(sleeping);
                }
            }
        });
        if word.make(Ask::Event).kick == Kick::Wake {
            assert!(halted.load(Ordering::Relaxed));
        }
        vcpu.join().unwrap();
    });
}
