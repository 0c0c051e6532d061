// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the operations cost, beside the least that they could cost and beside what people use today.
//!
//! ```sh
//! cargo bench -p vcpu-requests
//! ```
//!
//! Each group is one operation. Its first lines are the floor: one atomic instruction, on the same
//! data, in the same loop. Then come this crate's word and the peers, which all go through the same
//! trait.

mod peers;

use std::array;
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};

use peers::{Bools, Crossbeam, Mailbox, Mpsc, MutexQueue, Word};

/// How many mailboxes an operation goes through in turn, so that each meets one that is in the state
/// that the group is about. They fit into the first cache.
const BOXES: usize = 256;

/// Requests of each of the two makers in a burst.
const BURST: u32 = 10_000;

/// Has the compiler believe that `value` is looked at.
fn spend<T>(value: T) {
    drop(black_box(value));
}

/// Calls `one!(name, Type)` for this crate's word and for each peer.
macro_rules! for_each_mailbox {
    ($one:ident) => {
        $one!("vcpu-requests", Word);
        $one!("AtomicBools", Bools);
        $one!("Mutex<VecDeque>", MutexQueue);
        $one!("std mpsc", Mpsc);
        $one!("crossbeam channel", Crossbeam);
    };
}

/// Times `measured` on each of `boxes`, after `prepare` on each, which is not timed.
fn timed<T>(
    iterations: u64,
    boxes: &mut [T],
    prepare: impl Fn(&mut T),
    measured: impl Fn(&mut T),
) -> Duration {
    let mut elapsed = Duration::ZERO;
    let mut left = usize::try_from(iterations).unwrap_or(usize::MAX);
    while left > 0 {
        let now = left.min(boxes.len());
        boxes.iter_mut().for_each(&prepare);
        let start = Instant::now();
        boxes[..now].iter_mut().for_each(&measured);
        elapsed += start.elapsed();
        left -= now;
    }
    elapsed
}

/// One line of a group.
fn line<T>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    new: impl Fn() -> T,
    prepare: impl Fn(&mut T),
    measured: impl Fn(&mut T),
) {
    group.bench_function(name, |bencher| {
        let mut boxes: [T; BOXES] = array::from_fn(|_| new());
        bencher.iter_custom(|iterations| timed(iterations, &mut boxes, &prepare, &measured));
    });
}

fn pending(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pending, nothing is");
    line(
        &mut group,
        "floor: relaxed load",
        AtomicU64::default,
        |_| {},
        |word| {
            black_box(word.load(Ordering::Relaxed) == 0);
        },
    );
    macro_rules! one {
        ($name:literal, $mailbox:ty) => {
            line(
                &mut group,
                $name,
                <$mailbox>::new,
                |_| {},
                |mailbox| {
                    spend(mailbox.pending());
                },
            );
        };
    }
    for_each_mailbox!(one);
    group.finish();
}

fn make(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("make");
    let reset = |word: &mut AtomicU64| *word.get_mut() = 0;
    line(
        &mut group,
        "floor: fetch_or",
        AtomicU64::default,
        reset,
        |word| {
            black_box(word.fetch_or(black_box(1), Ordering::AcqRel));
        },
    );
    line(
        &mut group,
        "floor: fetch_or, result unused",
        AtomicU64::default,
        reset,
        |word| {
            word.fetch_or(black_box(1), Ordering::AcqRel);
        },
    );
    macro_rules! one {
        ($name:literal, $mailbox:ty) => {
            line(
                &mut group,
                $name,
                <$mailbox>::new,
                |mailbox| mailbox.drain(),
                |mailbox| {
                    spend(mailbox.make());
                },
            );
        };
    }
    for_each_mailbox!(one);
    group.finish();
}

fn check(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("check, one is pending");
    let set = |word: &mut AtomicU64| *word.get_mut() = 1;
    line(
        &mut group,
        "floor: fetch_and",
        AtomicU64::default,
        set,
        |word| {
            black_box(word.fetch_and(black_box(!1), Ordering::Acquire));
        },
    );
    macro_rules! one {
        ($name:literal, $mailbox:ty) => {
            let prepare = |mailbox: &mut $mailbox| {
                mailbox.drain();
                spend(mailbox.make());
            };
            line(&mut group, $name, <$mailbox>::new, prepare, |mailbox| {
                spend(mailbox.check());
            });
        };
    }
    for_each_mailbox!(one);
    group.finish();
}

fn round_trip(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("make and check");
    line(
        &mut group,
        "floor: fetch_or, fetch_and",
        AtomicU64::default,
        |_| {},
        |word| {
            black_box(word.fetch_or(black_box(1), Ordering::AcqRel));
            black_box(word.fetch_and(black_box(!1), Ordering::Acquire));
        },
    );
    macro_rules! one {
        ($name:literal, $mailbox:ty) => {
            line(
                &mut group,
                $name,
                <$mailbox>::new,
                |mailbox| mailbox.drain(),
                |mailbox| {
                    spend(mailbox.make());
                    spend(mailbox.check());
                },
            );
        };
    }
    for_each_mailbox!(one);
    group.finish();
}

/// Two makers make `BURST` requests each, as fast as they can, while the consumer takes them. The
/// time is until everything that was made is taken.
fn burst_of<M: Mailbox>(iterations: u64) -> Duration {
    let mut elapsed = Duration::ZERO;
    for _ in 0..iterations {
        let mailbox = M::new();
        let start = Barrier::new(3);
        elapsed += thread::scope(|scope| {
            let makers = [(); 2].map(|()| {
                let maker = mailbox.maker();
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    for _ in 0..BURST {
                        spend(M::make_from(&maker));
                    }
                })
            });
            start.wait();
            let start = Instant::now();
            while !makers.iter().all(|maker| maker.is_finished()) {
                mailbox.drain();
            }
            mailbox.drain();
            start.elapsed()
        });
    }
    elapsed
}

fn burst(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("burst from 2 threads");
    group.throughput(Throughput::Elements(2 * u64::from(BURST)));
    group.sample_size(20);
    macro_rules! one {
        ($name:literal, $mailbox:ty) => {
            group.bench_function($name, |bencher| bencher.iter_custom(burst_of::<$mailbox>));
        };
    }
    for_each_mailbox!(one);
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = pending, make, check, round_trip, burst
}
criterion_main!(benches);
