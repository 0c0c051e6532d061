// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What an entry costs of which nothing is asked, in instructions.
//!
//! ```sh
//! cargo bench -p vcpu-runner --bench entry
//! ```
//!
//! A vCPU without KVM exits at once; loops drive it, from a bare one to the crate's own. Each is
//! counted by callgrind for two numbers of entries. Divided by the entries that one has more, the
//! difference is what an entry costs: everything before and after the loop drops out, and nothing
//! is left that another run could change.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that cannot go on has nothing else to do"
)]

mod callgrind;
mod driver;
mod fake;
#[allow(dead_code, reason = "each benchmark uses a part")]
#[path = "../report/mod.rs"]
mod report;

use driver::Driver;
use report::{Figure, Options, Report};

/// The arguments with which this program calls itself.
const OWN: [&str; 2] = ["--driver", "--entries"];

/// The entries of the shorter run: as many digits as the longer one has, which are parsed too.
const SOME: u64 = 10_000;

fn main() {
    let options = Options::read(&OWN);
    if let [name, entries] = options.own.as_slice() {
        let named = |driver: &Driver| driver.name() == name;
        let driver = Driver::ALL.into_iter().find(named).unwrap();
        return driver.drive(entries.parse().unwrap());
    }
    if !callgrind::is_there() {
        eprintln!("SKIPPED: benchmark entry: there is no valgrind; Debian has it in `valgrind`");
        return;
    }
    let more = options.repetitions(20_000, 1000) as u64;
    let of_one = |count: u64| count as f64 / more as f64;
    let cost = |driver: Driver| {
        let short = callgrind::count(driver, SOME);
        let cost = callgrind::count(driver, SOME + more) - short;
        [cost.instructions, cost.loads, cost.stores].map(of_one)
    };
    let costs = Driver::ALL.map(|driver| (driver, cost(driver)));
    let mut report = Report::new("entry", options);
    let floor = costs[0].1;
    for (driver, cost) in costs {
        let figures = [
            ("instructions", Figure::Count(cost[0])),
            ("loads", Figure::Count(cost[1])),
            ("stores", Figure::Count(cost[2])),
            ("more_instructions", Figure::Count(cost[0] - floor[0])),
            ("more_loads", Figure::Count(cost[1] - floor[1])),
            ("more_stores", Figure::Count(cost[2] - floor[2])),
        ];
        report.row(driver.name(), &figures);
    }
    report.print();
}
