// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How long it takes from a kick until the vCPU's thread has left the guest and handled what it was
//! kicked for.
//!
//! ```sh
//! cargo bench -p vcpu-runner --bench kick
//! ```
//!
//! The guest spins, so nothing but the kick gets it out. Beside this crate stands the floor, the
//! least that can be done without losing kicks, and small models of what VMMs do. They take turns
//! in short batches; each has a virtual machine of its own, and only the one whose turn it is runs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that cannot go on has nothing else to do"
)]

#[allow(dead_code, reason = "each benchmark uses a part")]
#[path = "../bare/mod.rs"]
mod bare;
mod board;
mod channel;
mod contender;
mod floor;
#[allow(dead_code, reason = "each benchmark uses a part")]
#[path = "../guest/mod.rs"]
mod guest;
mod pace;
#[allow(dead_code, reason = "each benchmark uses a part")]
#[path = "../placement/mod.rs"]
mod placement;
#[allow(dead_code, reason = "each benchmark uses a part")]
#[path = "../report/mod.rs"]
mod report;
mod resignal;
mod runner;
#[path = "../samples/mod.rs"]
mod samples;
mod signal_mask;

use contender::{Contender, Measured};
use guest::Machine;
use pace::Irregular;
use placement::Side;
use report::{Options, Report};

fn main() {
    let options = Options::read(&[]);
    placement::before_others();
    placement::keep_on(Side::Kicker);
    let (batches, kicks) = (options.repetitions(60, 2), options.repetitions(40, 3));
    let machine = || Machine::new("kick", guest::SPIN);
    let Some(first) = machine() else { return };
    let mut contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(floor::Floor::new(&first)),
        Box::new(runner::Crate::new(&machine().unwrap())),
        Box::new(channel::Channel::new(&machine().unwrap())),
        Box::new(signal_mask::SignalMask::new(&machine().unwrap())),
        Box::new(resignal::Resignal::new(&machine().unwrap())),
    ];
    let mut measured = vec![Measured::default(); contenders.len()];
    let mut pace = Irregular::new(0x9e37_79b9_7f4a_7c15);
    for _ in 0..batches {
        for (contender, measured) in contenders.iter_mut().zip(&mut measured) {
            measured.begin_batch();
            contender.batch(kicks, &mut pace, measured);
        }
    }
    let mut report = Report::new("kick", options);
    let floor = measured[0].handled.clone();
    for (contender, Measured { handled, known }) in contenders.iter().zip(&measured) {
        let figures = [
            ("handled_median_ns", handled.median()),
            ("handled_p99_ns", handled.percentile_99()),
            ("vs_floor", handled.ratio_to(&floor)),
            ("known_median_ns", known.median()),
            ("known_p99_ns", known.percentile_99()),
        ];
        report.row(contender.name(), &figures);
    }
    report.print();
}
