// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the run loop adds to the round trip of an exit.
//!
//! ```sh
//! cargo bench -p vcpu-runner --bench exit
//! ```
//!
//! The guest writes a byte to a port, again and again; nothing is asked of the vCPU. Beside this
//! crate stand a bare KVM_RUN loop that reads the exit out of the run area, and a loop around
//! kvm-ioctls' `VcpuFd::run`. They take turns on one thread, in short batches.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that cannot go on has nothing else to do"
)]

#[allow(dead_code, reason = "each benchmark uses a part")]
#[path = "../bare/mod.rs"]
mod bare;
mod bare_loop;
mod batch;
#[allow(dead_code, reason = "each benchmark uses a part")]
#[path = "../guest/mod.rs"]
mod guest;
mod ioctls_loop;
#[allow(dead_code, reason = "each benchmark uses a part")]
#[path = "../placement/mod.rs"]
mod placement;
#[allow(dead_code, reason = "each benchmark uses a part")]
#[path = "../report/mod.rs"]
mod report;
mod runner;
#[path = "../samples/mod.rs"]
mod samples;

use batch::{Batch, Contender};
use guest::Machine;
use placement::Side;
use report::{Options, Report};
use samples::Samples;

fn main() {
    let options = Options::read(&[]);
    placement::before_others();
    placement::keep_on(Side::Vcpu);
    let (batches, exits) = (options.repetitions(150, 2), options.repetitions(2000, 10));
    let Some(machine) = Machine::new("exit", guest::OUT) else {
        return;
    };
    let mut contenders: [Box<dyn Contender>; 3] = [
        Box::new(bare_loop::BareLoop::new(&machine)),
        Box::new(ioctls_loop::IoctlsLoop::new(&machine)),
        Box::new(runner::Crate::new(&machine)),
    ];
    let mut times = vec![Samples::default(); contenders.len()];
    for first in 0..batches {
        // Each is first, second and last equally often.
        for turn in 0..contenders.len() {
            let index = (first + turn) % contenders.len();
            let batch = contenders[index].run(Batch::of(exits));
            times[index].begin_batch();
            times[index].add(batch.time_of_one());
        }
    }
    let mut report = Report::new("exit", options);
    for (contender, time) in contenders.iter().zip(&times) {
        let figures = [
            ("median_ns", time.median()),
            ("p99_ns", time.percentile_99()),
            ("vs_bare", time.ratio_to(&times[0])),
            ("vs_kvm_ioctls", time.ratio_to(&times[1])),
        ];
        report.row(contender.name(), &figures);
    }
    report.print();
}
