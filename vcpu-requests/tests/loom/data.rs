// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is written before a request is made is visible after it was found.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use vcpu_requests::value::{Policy, Value};

use crate::{Ask, VcpuRequests, loom_finds};

/// The two operations that meet.
trait Word: Send + Sync + 'static {
    fn new() -> Self;
    fn make(&self);
    fn find(&self) -> bool;
}

/// Loom fails where the finder's read is not ordered after the maker's write.
fn what_was_written_is_visible<W: Word>() {
    let word = Arc::new(W::new());
    let data = Arc::new(UnsafeCell::new(()));
    let maker = thread::spawn({
        let (word, data) = (word.clone(), data.clone());
        move || {
            data.with_mut(|_| ());
            word.make();
        }
    });
    if word.find() {
        data.with(|_| ());
    }
    maker.join().unwrap();
}

/// The crate's word, and each way to find a request.
macro_rules! found_by {
    ($name:ident, $find:expr) => {
        struct $name(VcpuRequests);

        impl Word for $name {
            fn new() -> Self {
                Self(VcpuRequests::new())
            }

            fn make(&self) {
                let _ = self.0.make(Ask::Event);
            }

            fn find(&self) -> bool {
                let find: fn(&VcpuRequests) -> bool = $find;
                find(&self.0)
            }
        }
    };
}

found_by!(ByCheck, |word| word.check(Ask::Event));
found_by!(ByTake, |word| word.take().contains(Ask::Event));
found_by!(ByTest, |word| word.test(Ask::Event));
found_by!(ByLooking, |word| word.pending_set().contains(Ask::Event));

#[test]
fn check_sees_what_the_maker_wrote() {
    loom::model(what_was_written_is_visible::<ByCheck>);
}

#[test]
fn take_sees_what_the_maker_wrote() {
    loom::model(what_was_written_is_visible::<ByTake>);
}

#[test]
fn test_sees_what_the_maker_wrote() {
    loom::model(what_was_written_is_visible::<ByTest>);
}

#[test]
fn pending_set_sees_what_the_maker_wrote() {
    loom::model(what_was_written_is_visible::<ByLooking>);
}

found_by!(ByPending, |word| word.pending());

/// That `pending` is relaxed is part of its contract; this is what it means.
#[test]
fn pending_alone_orders_nothing() {
    loom_finds(
        "Causality violation",
        what_was_written_is_visible::<ByPending>,
    );
}

/// Broken: no ordering at all.
struct RelaxedBits(AtomicU32);

impl Word for RelaxedBits {
    fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    fn make(&self) {
        self.0.fetch_or(1, Ordering::Relaxed);
    }

    fn find(&self) -> bool {
        self.0.fetch_and(!1, Ordering::Relaxed) != 0
    }
}

#[test]
fn broken_relaxed_bits_are_caught() {
    loom_finds(
        "Causality violation",
        what_was_written_is_visible::<RelaxedBits>,
    );
}

/// Two that look for one request: one of them finds it.
#[test]
fn a_request_is_found_once() {
    loom::model(|| {
        let word = Arc::new(VcpuRequests::new());
        let _ = word.make(Ask::Event);
        let other = thread::spawn({
            let word = word.clone();
            move || word.check(Ask::Event)
        });
        let found = word.take().contains(Ask::Event);
        assert_ne!(found, other.join().unwrap());
    });
}

/// Two makers of one request, each with a value and with data of its own: no value is lost, and who
/// takes a value sees the data, though the request itself may be found only once for both.
#[test]
fn no_value_is_lost_and_each_brings_its_data() {
    loom::model(|| {
        let word = Arc::new(VcpuRequests::new());
        let value = Arc::new(Value::new(Policy::Or));
        let data = Arc::new([UnsafeCell::new(()), UnsafeCell::new(())]);
        let makers = [0, 1].map(|index| {
            let (word, value, data) = (word.clone(), value.clone(), data.clone());
            thread::spawn(move || {
                data[index].with_mut(|_| ());
                value.put(1 << index);
                let _ = word.make(Ask::Event);
            })
        });

        let mut taken = 0;
        let mut handle = || {
            if word.check(Ask::Event) {
                let values = value.take();
                assert_eq!(taken & values, 0, "taken twice");
                taken |= values;
                for (index, data) in data.iter().enumerate() {
                    if values & 1 << index != 0 {
                        data.with(|_| ());
                    }
                }
            }
        };
        handle();
        for maker in makers {
            maker.join().unwrap();
        }
        handle();
        assert_eq!(taken, 0b11, "a value was lost");
    });
}

/// A value that is taken between `put` and `make`, with an earlier request, brings its data as well.
fn a_value_that_is_taken_early_brings_its_data(policy: Policy) {
    loom::model(move || {
        let value = Arc::new(Value::new(policy));
        let data = Arc::new(UnsafeCell::new(()));
        let maker = thread::spawn({
            let (value, data) = (value.clone(), data.clone());
            move || {
                data.with_mut(|_| ());
                value.put(1);
            }
        });
        if value.take() != 0 {
            data.with(|_| ());
        }
        maker.join().unwrap();
    });
}

#[test]
fn values_bring_their_data_even_early() {
    for policy in [Policy::Replace, Policy::Or, Policy::Max] {
        a_value_that_is_taken_early_brings_its_data(policy);
    }
}

/// With Max and Replace the finder gets at least what the maker of the request that it found had
/// put; another maker's later or greater value may have taken its place.
#[test]
fn the_value_is_there_when_the_request_is() {
    for policy in [Policy::Replace, Policy::Max] {
        loom::model(move || {
            let word = Arc::new(VcpuRequests::new());
            let value = Arc::new(Value::new(policy));
            let maker = thread::spawn({
                let (word, value) = (word.clone(), value.clone());
                move || {
                    for (ask, number) in [(Ask::Event, 1), (Ask::Timer, 2)] {
                        value.put(number);
                        let _ = word.make(ask);
                    }
                }
            });
            let found = word.take();
            let least = match (found.contains(Ask::Timer), found.contains(Ask::Event)) {
                (true, _) => 2,
                (false, true) => 1,
                (false, false) => 0,
            };
            assert!(value.take() >= least);
            maker.join().unwrap();
        });
    }
}
