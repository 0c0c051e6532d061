// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What VMX in software costs, and what the immediate exit is good for.
//!
//! ```sh
//! cargo bench -p vmm-reference --bench nested_soft
//! ```
//!
//! - `event at launch`: an interrupt waits for L1, and L1 launches an L2 that spins. How long it takes
//!   until L1 has handled it, and how much L2 has run meanwhile: with the immediate exit, and with an L0
//!   that enters L2 as ever and is kicked every millisecond.
//! - `round trip`: L1 launches L2 with an injection, L2 executes some instructions and calls L1; with
//!   each way of catching L1's instructions.
//! - `work`: an L1 that does something else than VMX; likewise.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark that cannot go on has nothing else to do"
)]

#[allow(dead_code, reason = "each benchmark, and each test, uses a part")]
#[path = "../../tests/nested/guest.rs"]
mod guest;
#[allow(dead_code, reason = "each benchmark uses a part")]
#[path = "../../../vcpu-runner/benches/report/mod.rs"]
mod report;
#[allow(dead_code, reason = "each benchmark, and each test, uses a part")]
#[path = "../../tests/nested/soft_machine.rs"]
mod soft_machine;

use std::thread;
use std::time::{Duration, Instant};

use guest_l1::{Mode, bench};
use kvm_ioctls::Kvm;
use nested_vmx::soft::{Catch, Entering};
use report::{Figure, Options, Report};
use soft_machine::SoftL1;
use vm_memory::{Bytes, GuestAddress};
use vmm_reference::soft::vmx_instructions_exit;

/// Iterations of L1 that are measured.
const EVENTS: usize = 1000;
const FEW_EVENTS: usize = 10;
/// Not measured before: code is gone through, memory is faulted in.
const WARM_UP: u64 = 3;
/// How often the L0 without an immediate exit is kicked.
const KICKS: Duration = Duration::from_millis(1);
/// Each iteration of L2's loop, and of L1's when it works, is so many instructions.
const LOOP: u64 = 2;

fn main() {
    let options = Options::read(&[]);
    let kvm = match Kvm::new() {
        Ok(kvm) => kvm,
        Err(error) => {
            eprintln!("SKIPPED: nested-soft: /dev/kvm cannot be opened: {error}");
            return;
        }
    };
    let events = options.repetitions(EVENTS, FEW_EVENTS) as u64;
    events_at_launch(&kvm, &options, events);
    round_trips(&kvm, &options, events);
    work(&kvm, &options, events);
}

/// One machine, measured.
struct Measured {
    time: Duration,
    iterations: u64,
    l2_loops: u64,
    kvm_entries: u64,
}

impl Measured {
    fn per_iteration(&self, value: f64) -> f64 {
        value / self.iterations.max(1) as f64
    }

    fn nanoseconds(&self) -> Figure {
        Figure::Nanoseconds(self.per_iteration(self.time.as_nanos() as f64))
    }
}

/// Runs L1 for so many iterations.
fn measure(kvm: &Kvm, mode: Mode, catch: Catch, entering: Entering, iterations: u64) -> Measured {
    let l1 = SoftL1::start(kvm, mode, Some(catch), entering);
    let count = || guest::shared(&l1.memory).iterations;
    let loops = || -> u64 {
        l1.memory
            .read_obj(GuestAddress(bench::L2_PROGRESS))
            .unwrap()
    };
    let kick = || {
        if entering == Entering::UntilKicked {
            thread::sleep(KICKS);
            // One that has come to its end needs none.
            let _ = l1.thread.handle().kick();
        } else {
            // Seldom: on a machine with one CPU each look is time that L1 has not.
            thread::sleep(KICKS * 10);
        }
    };
    let wait = |wanted: u64| {
        let begin = Instant::now();
        while count() < wanted {
            let state = guest::shared(&l1.memory);
            let goes_on = state.end == 0 && begin.elapsed() < guest::LIMIT;
            assert!(goes_on, "{state:x?} {:?}", l1.first.get());
            kick();
        }
    };
    wait(WARM_UP);
    let (begin, first, l2_first) = (Instant::now(), count(), loops());
    wait(first + iterations);
    let (time, last, l2_last) = (begin.elapsed(), count(), loops());
    // An L2 that spins lets L1 come to its end only when it is kicked.
    l1.memory
        .write_obj(1u64, GuestAddress(guest_l1::storm::STOP))
        .unwrap();
    let begin = Instant::now();
    while guest::shared(&l1.memory).end == 0 && begin.elapsed() < guest::LIMIT {
        kick();
    }
    let (_, statistics) = l1.end();
    Measured {
        time,
        iterations: last - first,
        l2_loops: l2_last - l2_first,
        kvm_entries: statistics.kvm_entries,
    }
}

fn events_at_launch(kvm: &Kvm, options: &Options, events: u64) {
    let mut report = Report::new("nested-soft, event at launch", options.clone());
    for (name, entering) in [
        ("immediate exit", Entering::Briefly),
        ("kicked every 1 ms", Entering::UntilKicked),
    ] {
        let measured = measure(kvm, Mode::Spin, Catch::Stops, entering, events);
        let instructions = measured.per_iteration((measured.l2_loops * LOOP) as f64);
        report.row(
            name,
            &[
                ("time_ns", measured.nanoseconds()),
                ("l2_instructions", Figure::Count(instructions.round())),
            ],
        );
    }
    report.print();
}

/// Steps are slow, and each is like the others.
fn fewer(catch: Catch, iterations: u64) -> u64 {
    match catch {
        Catch::Stops | Catch::Exits => iterations,
        Catch::Steps => (iterations / 50).max(2),
    }
}

/// The ways of catching that this host has, the slowest one last.
fn ways(kvm: &Kvm) -> Vec<(&'static str, Catch)> {
    let mut ways = vec![("stops", Catch::Stops)];
    match vmx_instructions_exit(kvm) {
        Ok(true) => ways.push(("exits", Catch::Exits)),
        Ok(false) => eprintln!("nested-soft: VMX instructions do not exit on this host"),
        Err(error) => eprintln!("nested-soft: {error}"),
    }
    ways.push(("steps", Catch::Steps));
    ways
}

fn round_trips(kvm: &Kvm, options: &Options, iterations: u64) {
    let mut report = Report::new("nested-soft, round trip", options.clone());
    let mode = Mode::Storm { local_apic: true };
    for (name, catch) in ways(kvm) {
        let iterations = fewer(catch, iterations);
        let measured = measure(kvm, mode, catch, Entering::Briefly, iterations);
        let entries = measured.per_iteration(measured.kvm_entries as f64);
        report.row(
            name,
            &[
                ("time_ns", measured.nanoseconds()),
                ("kvm_entries", Figure::Count(entries.round())),
            ],
        );
    }
    report.print();
}

fn work(kvm: &Kvm, options: &Options, iterations: u64) {
    let mut report = Report::new("nested-soft, work", options.clone());
    let instruction = |catch| {
        let iterations = fewer(catch, iterations);
        let measured = measure(kvm, Mode::Work, catch, Entering::Briefly, iterations);
        measured.per_iteration(measured.time.as_nanos() as f64) / (bench::WORK * LOOP) as f64
    };
    let times: Vec<_> = ways(kvm)
        .into_iter()
        .map(|(name, catch)| (name, instruction(catch)))
        .collect();
    let slowest = times.iter().map(|(_, time)| *time).fold(0.0, f64::max);
    for (name, time) in times {
        report.row(
            name,
            &[
                ("instruction_ns", Figure::Nanoseconds(time)),
                (
                    "times_as_fast_as_the_slowest",
                    Figure::Ratio(slowest / time),
                ),
            ],
        );
    }
    report.print();
}
