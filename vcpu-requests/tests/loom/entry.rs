// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A request is seen before the entry, or its maker learns that it must kick. One kick per stay in
//! guest mode, not one per request.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::thread;
use vcpu_requests::{Kick, NotEntered};

use crate::{Ask, VcpuRequests, loom_finds};

/// The two operations that meet.
trait Word: Send + Sync + 'static {
    fn new() -> Self;
    /// Makes a request; whether it has to be followed by a kick.
    fn make(&self) -> bool;
    /// Whether the vCPU entered the guest, where it stays.
    fn enter(&self) -> bool;
}

/// Either the vCPU sees the request and does not enter, or the maker kicks it. Never neither, which
/// would lose the request; nor both, which would be a needless signal.
fn either_seen_or_kicked<W: Word>() {
    let word = Arc::new(W::new());
    let vcpu = thread::spawn({
        let word = word.clone();
        move || word.enter()
    });
    let must_kick = word.make();
    let entered = vcpu.join().unwrap();
    assert!(
        must_kick || !entered,
        "lost: in the guest, and nobody kicks"
    );
    assert!(entered || !must_kick, "a kick that nobody needs");
}

impl Word for VcpuRequests {
    fn new() -> Self {
        VcpuRequests::new()
    }

    fn make(&self) -> bool {
        match self.make(Ask::Event).kick {
            Kick::Signal => true,
            Kick::NotNeeded => false,
            other => panic!("{other:?}"),
        }
    }

    fn enter(&self) -> bool {
        match self.enter() {
            Ok(guest) => {
                std::mem::forget(guest);
                true
            }
            Err(NotEntered::Pending(_)) => false,
            Err(busy) => panic!("{busy}"),
        }
    }
}

#[test]
fn a_request_is_seen_before_the_entry_or_kicks() {
    loom::model(either_seen_or_kicked::<VcpuRequests>);
}

/// Broken: mode and bits in two words, and no order between them. Each side writes its own and looks
/// at the other's, and both may see the old value.
struct TwoRelaxedWords {
    bits: AtomicU32,
    in_guest: AtomicBool,
}

impl Word for TwoRelaxedWords {
    fn new() -> Self {
        Self {
            bits: AtomicU32::new(0),
            in_guest: AtomicBool::new(false),
        }
    }

    fn make(&self) -> bool {
        self.bits.fetch_or(1, Ordering::Relaxed);
        self.in_guest.load(Ordering::Relaxed)
    }

    fn enter(&self) -> bool {
        self.in_guest.store(true, Ordering::Relaxed);
        let pending = self.bits.load(Ordering::Relaxed) != 0;
        if pending {
            self.in_guest.store(false, Ordering::Relaxed);
        }
        !pending
    }
}

#[test]
fn broken_two_relaxed_words_are_caught() {
    loom_finds(
        "lost: in the guest, and nobody kicks",
        either_seen_or_kicked::<TwoRelaxedWords>,
    );
}

/// Broken: one word, but looking and entering are two operations on it.
struct LookThenEnter(AtomicU32);

const IN_GUEST: u32 = 1 << 31;

impl Word for LookThenEnter {
    fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    fn make(&self) -> bool {
        self.0.fetch_or(1, Ordering::AcqRel) & IN_GUEST != 0
    }

    fn enter(&self) -> bool {
        let pending = self.0.load(Ordering::Acquire) != 0;
        if !pending {
            self.0.fetch_or(IN_GUEST, Ordering::AcqRel);
        }
        !pending
    }
}

#[test]
fn broken_look_then_enter_is_caught() {
    loom_finds(
        "lost: in the guest, and nobody kicks",
        either_seen_or_kicked::<LookThenEnter>,
    );
}

/// Two makers, two stays: as many makers are told to kick as stays end with a kick.
#[test]
fn one_kick_per_stay() {
    loom::model(|| {
        let word = Arc::new(VcpuRequests::new());
        let makers = [Ask::Event, Ask::Timer].map(|ask| {
            let word = word.clone();
            thread::spawn(move || word.make(ask).kick)
        });

        let mut stays = 0;
        let mut kicked = 0;
        for _ in 0..2 {
            match word.enter() {
                Ok(guest) => {
                    stays += 1;
                    kicked += usize::from(guest.leave().kicked);
                }
                Err(NotEntered::Pending(_)) => {
                    word.take();
                }
                Err(busy) => panic!("{busy}"),
            }
        }

        let kicks = makers.map(|maker| maker.join().unwrap());
        let signals = kicks.iter().filter(|kick| **kick == Kick::Signal).count();
        let coalesced = kicks
            .iter()
            .filter(|kick| **kick == Kick::Coalesced)
            .count();
        assert!(signals <= stays);
        assert_eq!(signals, kicked);
        assert!(coalesced == 0 || signals == 1);
    });
}

/// NO_ACTION leaves no request for the vCPU to find. It is about something else that the maker has
/// changed: the entry is made with the change, or the maker kicks.
#[test]
fn a_kick_without_a_request_is_not_missed() {
    loom::model(|| {
        let word = Arc::new(VcpuRequests::new());
        let changed = Arc::new(AtomicBool::new(false));
        let vcpu = thread::spawn({
            let (word, changed) = (word.clone(), changed.clone());
            move || {
                std::mem::forget(word.enter().unwrap());
                changed.load(Ordering::Relaxed)
            }
        });
        changed.store(true, Ordering::Relaxed);
        let kick = word.make(Ask::Poke).kick;
        let seen = vcpu.join().unwrap();
        assert!(
            seen || kick == Kick::Signal,
            "in the guest with the old state"
        );
    });
}

/// And a vCPU that was kicked out so sees the change afterwards.
#[test]
fn a_kick_without_a_request_has_the_vcpu_look_again() {
    loom::model(|| {
        let word = Arc::new(VcpuRequests::new());
        let changed = Arc::new(AtomicBool::new(false));
        let vcpu = thread::spawn({
            let (word, changed) = (word.clone(), changed.clone());
            move || {
                let kicked = word.enter().unwrap().leave().kicked;
                (kicked, changed.load(Ordering::Relaxed))
            }
        });
        changed.store(true, Ordering::Relaxed);
        let kick = word.make(Ask::Poke).kick;
        let (kicked, seen) = vcpu.join().unwrap();
        assert_eq!(kicked, kick == Kick::Signal);
        assert!(seen || !kicked, "kicked out, and sees nothing new");
    });
}
