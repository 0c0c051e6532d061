// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Ways to ask something of another thread: this crate's word, and what else is in use.
//!
//! Each is used as its users do. A set of flags coalesces like the word; a queue does not.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};

use vcpu_requests::{Made, VcpuRequests, requests};

requests! {
    /// As many as a VMM may have.
    pub enum Ask {
        Event = 0,
        Timer = 1,
        FlushTlb = 2: WAIT | NO_WAKEUP,
        Pause = 3,
        Stop = 4,
        Call = 5,
        Debug = 6,
        Migrate = 7,
    }
}

/// The request that is measured.
const ASKED: Ask = Ask::Stop;

/// Somewhere requests are left for one consumer.
pub trait Mailbox: Sized {
    /// What another thread makes requests with.
    type Maker<'a>: Send
    where
        Self: 'a;

    /// What a maker learns.
    type Learned;

    fn new() -> Self;
    fn maker(&self) -> Self::Maker<'_>;
    fn make_from(maker: &Self::Maker<'_>) -> Self::Learned;

    /// Makes a request from the consumer's own thread.
    fn make(&self) -> Self::Learned;
    /// Whether there is a request.
    fn pending(&self) -> bool;
    /// Takes the request that is measured, if it is there.
    fn check(&self) -> bool;
    /// Takes all requests.
    fn drain(&self);

    /// The consumer goes into the guest. A queue has no place to say so: its users kick every time.
    fn enter_guest(&self) {}
}

/// This crate's.
pub struct Word(VcpuRequests<Ask>);

impl Mailbox for Word {
    type Maker<'a> = &'a Self;
    type Learned = Made;

    fn new() -> Self {
        Self(VcpuRequests::new())
    }

    fn maker(&self) -> &Self {
        self
    }

    fn make_from(maker: &&Self) -> Made {
        maker.make()
    }

    fn make(&self) -> Made {
        self.0.make(ASKED)
    }

    fn pending(&self) -> bool {
        self.0.pending()
    }

    fn check(&self) -> bool {
        self.0.check(ASKED)
    }

    fn drain(&self) {
        self.0.take();
    }

    fn enter_guest(&self) {
        // Nobody leaves: what is measured ends before.
        std::mem::forget(self.0.enter());
    }
}

/// A flag for each request, one that says whether the vCPU is in the guest, and one so that only the
/// first maker kicks it: what it takes to tell makers as much as the word does. (Except for what a
/// WAIT needs.)
///
/// SeqCst, as where this is used: what the maker stores must not pass its look at the vCPU's mode,
/// or the kick is lost.
#[derive(Default)]
pub struct Bools {
    flags: [AtomicBool; 8],
    in_guest: AtomicBool,
    kicked: AtomicBool,
}

impl Mailbox for Bools {
    type Maker<'a> = &'a Self;
    /// Whether to kick.
    type Learned = bool;

    fn new() -> Self {
        Self::default()
    }

    fn maker(&self) -> &Self {
        self
    }

    fn make_from(maker: &&Self) -> bool {
        maker.make()
    }

    fn make(&self) -> bool {
        self.flags[ASKED as usize].store(true, Ordering::SeqCst);
        self.in_guest.load(Ordering::SeqCst) && !self.kicked.swap(true, Ordering::SeqCst)
    }

    fn pending(&self) -> bool {
        self.flags.iter().any(|flag| flag.load(Ordering::Relaxed))
    }

    fn check(&self) -> bool {
        self.flags[ASKED as usize].swap(false, Ordering::SeqCst)
    }

    fn drain(&self) {
        for flag in &self.flags {
            if flag.load(Ordering::Relaxed) {
                flag.swap(false, Ordering::SeqCst);
            }
        }
    }

    fn enter_guest(&self) {
        self.kicked.store(false, Ordering::SeqCst);
        self.in_guest.store(true, Ordering::SeqCst);
    }
}

/// A queue under a lock.
#[derive(Default)]
pub struct MutexQueue(Mutex<VecDeque<Ask>>);

impl MutexQueue {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Ask>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mailbox for MutexQueue {
    type Maker<'a> = &'a Self;
    type Learned = ();

    fn new() -> Self {
        Self::default()
    }

    fn maker(&self) -> &Self {
        self
    }

    fn make_from(maker: &&Self) {
        maker.make();
    }

    fn make(&self) {
        self.lock().push_back(ASKED);
    }

    fn pending(&self) -> bool {
        !self.lock().is_empty()
    }

    fn check(&self) -> bool {
        self.lock().pop_front() == Some(ASKED)
    }

    fn drain(&self) {
        self.lock().clear();
    }
}

/// std's channel.
pub struct Mpsc {
    maker: mpsc::Sender<Ask>,
    consumer: mpsc::Receiver<Ask>,
}

impl Mailbox for Mpsc {
    type Maker<'a> = mpsc::Sender<Ask>;
    type Learned = bool;

    fn new() -> Self {
        let (maker, consumer) = mpsc::channel();
        Self { maker, consumer }
    }

    fn maker(&self) -> Self::Maker<'_> {
        self.maker.clone()
    }

    fn make_from(maker: &Self::Maker<'_>) -> bool {
        maker.send(ASKED).is_ok()
    }

    fn make(&self) -> bool {
        Self::make_from(&self.maker)
    }

    fn pending(&self) -> bool {
        // There is no other way to look.
        self.consumer.try_recv().is_ok()
    }

    fn check(&self) -> bool {
        self.consumer.try_recv() == Ok(ASKED)
    }

    fn drain(&self) {
        while self.consumer.try_recv().is_ok() {}
    }
}

/// crossbeam's channel.
pub struct Crossbeam {
    maker: crossbeam_channel::Sender<Ask>,
    consumer: crossbeam_channel::Receiver<Ask>,
}

impl Mailbox for Crossbeam {
    type Maker<'a> = crossbeam_channel::Sender<Ask>;
    type Learned = bool;

    fn new() -> Self {
        let (maker, consumer) = crossbeam_channel::unbounded();
        Self { maker, consumer }
    }

    fn maker(&self) -> Self::Maker<'_> {
        self.maker.clone()
    }

    fn make_from(maker: &Self::Maker<'_>) -> bool {
        maker.send(ASKED).is_ok()
    }

    fn make(&self) -> bool {
        Self::make_from(&self.maker)
    }

    fn pending(&self) -> bool {
        !self.consumer.is_empty()
    }

    fn check(&self) -> bool {
        self.consumer.try_recv() == Ok(ASKED)
    }

    fn drain(&self) {
        while self.consumer.try_recv().is_ok() {}
    }
}
