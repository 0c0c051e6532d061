// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How long it takes to pause and resume many vCPUs at once.
//!
//! ```sh
//! cargo bench -p vcpu-runner --bench pause
//! ```
//!
//! All of them spin, on however few CPUs there are. The floor is what `pthread_kill`, a lock and a
//! condition variable for each thread can do around bare KVM_RUN loops. Were a timer involved
//! anywhere, a vCPU's share of the time would be that of the timer, whatever their number.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that cannot go on has nothing else to do"
)]

#[allow(dead_code, reason = "each benchmark uses a part")]
#[path = "../bare/mod.rs"]
mod bare;
mod floor;
#[allow(dead_code, reason = "each benchmark uses a part")]
#[path = "../guest/mod.rs"]
mod guest;
#[allow(dead_code, reason = "each benchmark uses a part")]
#[path = "../placement/mod.rs"]
mod placement;
#[allow(dead_code, reason = "each benchmark uses a part")]
#[path = "../report/mod.rs"]
mod report;
mod runner;
#[path = "../samples/mod.rs"]
mod samples;

use std::thread;
use std::time::{Duration, Instant};

use guest::Machine;
use report::{Figure, Options, Report};
use samples::Samples;

/// How many vCPUs are paused together.
const NUMBERS: [usize; 3] = [1, 8, 64];

/// How long they spin between a resume and the next pause.
const SPINNING: Duration = Duration::from_millis(2);

/// vCPUs on their threads, all of them paused.
trait Contender {
    /// What the table calls it.
    fn name(&self) -> &'static str;

    /// Resumes the first `number`.
    fn resume(&self, number: usize);

    /// Pauses the first `number`, and returns when all of them are.
    fn pause(&self, number: usize);

    /// Ends all threads.
    fn end(self: Box<Self>);
}

#[derive(Clone, Default)]
struct Measured {
    pause: Samples,
    resume: Samples,
    round: Samples,
}

impl Measured {
    fn round(&mut self, contender: &dyn Contender, number: usize) {
        let start = Instant::now();
        contender.resume(number);
        let resume = start.elapsed();
        thread::sleep(SPINNING);
        let start = Instant::now();
        contender.pause(number);
        let pause = start.elapsed();
        self.resume.add(resume);
        self.pause.add(pause);
        self.round.add(resume + pause);
    }

    fn begin_batch(&mut self) {
        for samples in [&mut self.pause, &mut self.resume, &mut self.round] {
            samples.begin_batch();
        }
    }
}

fn main() {
    let options = Options::read(&[]);
    placement::before_others();
    let (batches, rounds) = (options.repetitions(40, 1), options.repetitions(10, 1));
    let most = NUMBERS.into_iter().max().unwrap_or_default();
    let machine = || Machine::new("pause", guest::SPIN);
    let Some(first) = machine() else { return };
    let contenders: [Box<dyn Contender>; 2] = [
        Box::new(floor::Floor::start(&first, most)),
        Box::new(runner::Crate::start(&machine().unwrap(), most)),
    ];
    // Or it waits for a CPU until those that it has just resumed have had their turn.
    placement::before_own_threads();
    let mut report = Report::new("pause", options);
    for number in NUMBERS {
        let mut measured = vec![Measured::default(); contenders.len()];
        for _ in 0..batches {
            for (contender, measured) in contenders.iter().zip(&mut measured) {
                measured.begin_batch();
                for _ in 0..rounds {
                    measured.round(&**contender, number);
                }
            }
        }
        for (contender, own) in contenders.iter().zip(&measured) {
            let figures = [
                ("vcpus", Figure::Count(number as f64)),
                ("pause_median_ns", own.pause.median()),
                ("pause_p99_ns", own.pause.percentile_99()),
                ("resume_median_ns", own.resume.median()),
                ("round_median_ns", own.round.median()),
                ("round_p99_ns", own.round.percentile_99()),
                ("round_per_vcpu_ns", own.round.median().divided_by(number)),
                ("vs_floor", own.round.ratio_to(&measured[0].round)),
            ];
            report.row(contender.name(), &figures);
        }
    }
    report.print();
    for contender in contenders {
        contender.end();
    }
}
