// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What each mechanism for an immediate exit lets through, and what it costs.
//!
//! ```sh
//! cargo bench -p vcpu-runner --bench immediate_exit
//! ```
//!
//! The guest is in long mode, ring 0, and executes NOPs; so does the handler of the interrupt that is
//! injected where there is one. From RIP it follows how many instructions ran. Beside the mechanisms
//! are the floor, a KVM_RUN that skips the guest, and what a VMM without an immediate exit does: it
//! enters, and has another thread kick the vCPU out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that cannot go on has nothing else to do"
)]

mod contender;
mod guest;
mod kicked;
mod line;
#[allow(dead_code, reason = "each benchmark uses a part")]
#[path = "../report/mod.rs"]
mod report;
mod skip;
mod with_mechanism;

use std::time::{Duration, Instant};

use contender::{Contender, Entered, Subject};
use kvm_ioctls::Kvm;
use line::{Line, Measured};
use report::Options;
use vcpu_runner::kvm::immediate_exit::Mechanism;

/// Entries of each contender.
const ENTRIES: usize = 5000;
const FEW_ENTRIES: usize = 20;
/// Not measured before: the guest's memory is faulted in, and delays settle.
const WARM_UP: usize = 50;
/// No contender takes longer: what a backstop ends takes 20 ms each.
const LONGEST: Duration = Duration::from_secs(5);

fn main() {
    let options = Options::read(&[]);
    if let Err(error) = Kvm::new() {
        eprintln!("SKIPPED: immediate_exit: /dev/kvm cannot be opened: {error}");
        return;
    }
    let entries = options.repetitions(ENTRIES, FEW_ENTRIES);
    let mut lines = Vec::new();
    for subject in [Subject::Event, Subject::Nothing] {
        let mut contenders: Vec<Box<dyn Contender>> =
            vec![Box::new(skip::Skip::new()), Box::new(kicked::Kicked::new())];
        for &mechanism in Mechanism::ALL {
            contenders.push(Box::new(with_mechanism::WithMechanism::new(mechanism)));
        }
        for contender in &mut contenders {
            lines.push(Line {
                name: contender.name(),
                subject,
                measured: measure(contender.as_mut(), subject, entries),
            });
        }
    }
    line::print(&lines, &options);
}

fn measure(
    contender: &mut dyn Contender,
    subject: Subject,
    entries: usize,
) -> Result<Measured, String> {
    let mut measured = Measured::default();
    let start = Instant::now();
    for round in 0..WARM_UP.min(entries) + entries {
        let Entered {
            instructions,
            time,
            missed,
        } = contender.enter(subject)?;
        if round >= WARM_UP.min(entries) {
            measured.add(instructions, time, missed);
        }
        if start.elapsed() > LONGEST && measured.entries() > 10 {
            break;
        }
    }
    Ok(measured)
}
