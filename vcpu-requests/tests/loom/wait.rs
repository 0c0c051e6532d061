// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A maker with WAIT goes on only after the vCPU has left guest mode, and then sees what it did there.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use vcpu_requests::{Mode, NotEntered, Ticket};

use crate::{Ask, VcpuRequests, loom_finds, stay};

/// A way to agree that the vCPU is out of the guest.
trait Word: Send + Sync + 'static {
    type Ticket;
    fn new() -> Self;
    /// Enters, runs `guest` and leaves; or handles the request and says so by `false`.
    fn stay(&self, guest: impl FnOnce()) -> bool;
    /// Makes the request. `None`: the vCPU is outside.
    fn make(&self) -> Option<Self::Ticket>;
    fn has_left(&self, ticket: &Self::Ticket) -> bool;
}

/// A page is taken away from a guest. The guest touches it in every stay until the vCPU has handled
/// the request to flush its TLB; the maker uses it for something else if its wait is over. Loom fails
/// where one is not ordered before the other.
///
/// The maker looks only once, which is one of the looks that a waiting one takes: whether the wait is
/// over may be known late, but never early. In the end it is over.
fn the_page_is_never_shared<W: Word>() {
    let word = Arc::new(W::new());
    let page = Arc::new(UnsafeCell::new(()));
    let vcpu = thread::spawn({
        let (word, page) = (word.clone(), page.clone());
        move || {
            for _ in 0..2 {
                if !word.stay(|| page.with(|_| ())) {
                    return;
                }
            }
        }
    });
    let ticket = word.make();
    if ticket.as_ref().is_none_or(|ticket| word.has_left(ticket)) {
        page.with_mut(|_| ());
    }
    vcpu.join().unwrap();
    assert!(
        ticket.is_none_or(|ticket| word.has_left(&ticket)),
        "a wait without end"
    );
}

impl Word for VcpuRequests {
    type Ticket = Ticket;

    fn new() -> Self {
        VcpuRequests::new()
    }

    fn stay(&self, guest: impl FnOnce()) -> bool {
        match self.enter() {
            Ok(inside) => {
                stay(inside, guest);
                true
            }
            Err(NotEntered::Pending(_)) => !self.check(Ask::FlushTlb),
            Err(busy) => panic!("{busy}"),
        }
    }

    fn make(&self) -> Option<Ticket> {
        self.make(Ask::FlushTlb).wait
    }

    fn has_left(&self, ticket: &Ticket) -> bool {
        self.has_left(*ticket)
    }
}

#[test]
fn a_wait_ends_after_the_stay() {
    loom::model(the_page_is_never_shared::<VcpuRequests>);
}

/// Broken: a flag that the maker takes down and the vCPU puts up when it leaves. A vCPU that left and
/// entered again between the maker's two steps has put it up for the wrong stay.
struct SharedAcknowledgement {
    word: VcpuRequests,
    acknowledged: AtomicBool,
}

impl Word for SharedAcknowledgement {
    type Ticket = ();

    fn new() -> Self {
        Self {
            word: VcpuRequests::new(),
            acknowledged: AtomicBool::new(false),
        }
    }

    fn stay(&self, guest: impl FnOnce()) -> bool {
        let stayed = self.word.stay(guest);
        self.acknowledged.store(true, Ordering::Release);
        stayed
    }

    fn make(&self) -> Option<()> {
        self.acknowledged.store(false, Ordering::Release);
        Word::make(&self.word).map(drop)
    }

    fn has_left(&self, (): &()) -> bool {
        self.acknowledged.load(Ordering::Acquire)
    }
}

#[test]
fn broken_shared_acknowledgement_is_caught() {
    loom_finds(
        "Causality violation",
        the_page_is_never_shared::<SharedAcknowledgement>,
    );
}

/// Two makers and one stay: each waits for its end by itself, and neither ends the other's wait.
#[test]
fn every_maker_waits_for_itself() {
    loom::model(|| {
        let word = Arc::new(VcpuRequests::new());
        let pages = Arc::new([UnsafeCell::new(()), UnsafeCell::new(())]);
        let guest = word.enter().unwrap();
        let makers = [0, 1].map(|index| {
            let (word, pages) = (word.clone(), pages.clone());
            thread::spawn(move || {
                let ticket = word.make(Ask::FlushTlb).wait;
                if ticket.is_none_or(|ticket| word.has_left(ticket)) {
                    pages[index].with_mut(|_| ());
                }
                ticket
            })
        });
        stay(guest, || {
            for page in &*pages {
                page.with(|_| ());
            }
        });
        for maker in makers {
            let ticket = maker.join().unwrap();
            assert!(ticket.is_none_or(|ticket| word.has_left(ticket)));
        }
    });
}

/// Who sees the vCPU outside, sees what it did inside.
#[test]
fn the_mode_says_what_is_over() {
    loom::model(|| {
        let word = Arc::new(VcpuRequests::new());
        let page = Arc::new(UnsafeCell::new(()));
        let guest = word.enter().unwrap();
        let other = thread::spawn({
            let (word, page) = (word.clone(), page.clone());
            move || {
                if word.mode() == Mode::Outside {
                    page.with_mut(|_| ());
                }
            }
        });
        stay(guest, || page.with(|_| ()));
        other.join().unwrap();
    });
}
