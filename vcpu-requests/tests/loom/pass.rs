// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is asked while requests are handled is handled before the entry, also what the same pass has
//! looked for already.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use vcpu_requests::{NotEntered, Request};

use crate::{Ask, VcpuRequests, loom_finds};

/// A word whose requests are looked for one after the other.
trait Word: Send + Sync + 'static {
    fn new() -> Self;
    fn make(&self, ask: Ask);
    fn check(&self, ask: Ask) -> bool;
    /// Whether the vCPU entered the guest, where it stays.
    fn enter(&self) -> bool;
}

/// Handling Timer raises Event, which each pass looks for first.
fn what_a_pass_raises_it_handles<W: Word>() {
    let word = Arc::new(W::new());
    let maker = thread::spawn({
        let word = word.clone();
        move || word.make(Ask::Timer)
    });
    let mut raised = 0;
    let mut handled = 0;
    loop {
        if word.check(Ask::Event) {
            handled += 1;
        }
        if word.check(Ask::Timer) {
            word.make(Ask::Event);
            raised += 1;
        }
        if word.enter() {
            break;
        }
    }
    assert_eq!(raised, handled, "in the guest, with a request left over");
    maker.join().unwrap();
}

impl Word for VcpuRequests {
    fn new() -> Self {
        VcpuRequests::new()
    }

    fn make(&self, ask: Ask) {
        // Whoever is told to kick a vCPU that has just entered does so; that is not the point here.
        let _ = self.make(ask);
    }

    fn check(&self, ask: Ask) -> bool {
        self.check(ask)
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
fn what_is_raised_while_handling_is_handled_before_the_entry() {
    loom::model(what_a_pass_raises_it_handles::<VcpuRequests>);
}

/// Broken: one look at each request, and in.
struct OnePass(AtomicU32);

const IN_GUEST: u32 = 1 << 31;

impl Word for OnePass {
    fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    fn make(&self, ask: Ask) {
        self.0.fetch_or(1 << ask.bit(), Ordering::AcqRel);
    }

    fn check(&self, ask: Ask) -> bool {
        let mask = 1 << ask.bit();
        self.0.fetch_and(!mask, Ordering::AcqRel) & mask != 0
    }

    fn enter(&self) -> bool {
        self.0.fetch_or(IN_GUEST, Ordering::AcqRel);
        true
    }
}

#[test]
fn broken_single_pass_is_caught() {
    loom_finds(
        "in the guest, with a request left over",
        what_a_pass_raises_it_handles::<OnePass>,
    );
}
