// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the operations cost, beside the least that they could cost and beside what people use today.
//!
//! ```sh
//! cargo bench -p vcpu-requests
//! ```
//!
//! Each group is one operation. Its first lines are the floor: one atomic instruction, on the same
//! data, in the same loop. Then come this crate's word and the peers, which all go through the same
//! trait. A sample is the fastest of its rounds, since what else the machine does only ever adds.

mod peers;

use std::array;
use std::hint::{black_box, spin_loop};
use std::panic::resume_unwind;
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

/// How many bursts a sample takes at least, so that the makers of some ran side by side.
const MIN_BURSTS: u64 = 50;

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
/// looks. The time is from the first request until everything that was made is taken.
///
/// Before it stands whether the makers ran side by side: on a busy machine one may have waited for
/// the other's CPU, and then nothing met.
fn burst_once<M: Mailbox>() -> (bool, Duration) {
    let mailbox = M::new();
    mailbox.enter_guest();
    let ready = AtomicU64::new(0);
    let [one, other] = thread::scope(|scope| {
        let makers = [(); 2].map(|()| {
            let maker = mailbox.maker();
            let ready = &ready;
            scope.spawn(move || {
                // Spinning, so that both begin at once.
                ready.fetch_add(1, Ordering::AcqRel);
                while ready.load(Ordering::Acquire) != GO {
                    spin_loop();
                }
                let start = Instant::now();
                for _ in 0..BURST {
                    spend(M::make_from(&maker));
                }
                (start, Instant::now())
            })
        });
        while ready.load(Ordering::Acquire) != 2 {
            thread::yield_now();
        }
        ready.store(GO, Ordering::Release);
        makers.map(|maker| maker.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let makers = one.1.max(other.1) - one.0.min(other.0);
    let together = one
        .1
        .min(other.1)
        .saturating_duration_since(one.0.max(other.0));

    let start = Instant::now();
    mailbox.drain();
    (together * 4 > makers * 3, makers + start.elapsed())
}

/// The fastest burst in which the makers ran side by side, times `iterations`.
fn timed_bursts<M: Mailbox>(iterations: u64) -> Duration {
    let (_, fastest) = (0..iterations.max(MIN_BURSTS))
        .map(|_| burst_once::<M>())
        .min_by_key(|(side_by_side, time)| (!side_by_side, *time))
        .unwrap_or_default();
    fastest.mul_f64(iterations as f64)
}

fn burst(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("burst from 2 threads");
    group.throughput(Throughput::Elements(2 * u64::from(BURST)));
    group.sample_size(20);
    macro_rules! one {
        ($name:literal, $mailbox:ty) => {
            group.bench_function($name, |bencher| {
                bencher.iter_custom(timed_bursts::<$mailbox>)
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
