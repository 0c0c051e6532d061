// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the operations cost, beside the least that they could cost and beside what people use today.
//!
//! ```sh
//! cargo bench -p vcpu-requests
//! ```
//!
//! Each group is one operation; a sample is the fastest of its rounds (of a burst: the
//! mean). Its first lines are the floor: one atomic instruction, on the same
//! data, in the same loop. Then come this crate's word and the peers, which all go through the same
//! trait.

mod peers;

use std::array;
use std::hint::{black_box, spin_loop};
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

/// Both makers of a burst are ready, and may begin.
const GO: u64 = u64::MAX;

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
///
/// A sample is its fastest round: what else the machine does only ever adds.
fn timed<T>(
    iterations: u64,
    boxes: &mut [T; BOXES],
    prepare: impl Fn(&mut T),
    measured: impl Fn(&mut T),
) -> Duration {
    let fastest = (0..iterations.div_ceil(BOXES as u64))
        .map(|_| {
            boxes.iter_mut().for_each(&prepare);
            let start = Instant::now();
            boxes.iter_mut().for_each(&measured);
            start.elapsed()
        })
        .min()
        .unwrap_or_default();
    fastest.mul_f64(iterations as f64 / BOXES as f64)
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

/// Two makers make `BURST` requests each, as fast as they can, while the vCPU is in the guest; then it
/// looks. The time is until everything that was made is taken.
fn burst_once<M: Mailbox>() -> Duration {
    let mailbox = M::new();
    mailbox.enter_guest();
    let ready = AtomicU64::new(0);
    thread::scope(|scope| {
        let makers = [(); 2].map(|()| {
            let maker = mailbox.maker();
            let ready = &ready;
            scope.spawn(move || {
                // Spinning, so that both begin at once.
                ready.fetch_add(1, Ordering::AcqRel);
                while ready.load(Ordering::Acquire) != GO {
                    spin_loop();
                }
                for _ in 0..BURST {
                    spend(M::make_from(&maker));
                }
            })
        });
        while ready.load(Ordering::Acquire) != 2 {
            thread::yield_now();
        }
        let start = Instant::now();
        ready.store(GO, Ordering::Release);
        for maker in makers {
            spend(maker.join());
        }
        mailbox.drain();
        start.elapsed()
    })
}

fn burst(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("burst from 2 threads");
    group.throughput(Throughput::Elements(2 * u64::from(BURST)));
    macro_rules! one {
        ($name:literal, $mailbox:ty) => {
            group.bench_function($name, |bencher| {
                bencher.iter_custom(|iterations| {
                    (0..iterations).map(|_| burst_once::<$mailbox>()).sum()
                });
            });
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
