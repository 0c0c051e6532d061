// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The VMM as a child process, which has a time limit.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::l1::{L1, Made};
use crate::machine::{Guest, Machine, Ran, has_kvm};

/// What no run needs but one that hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs an L1 in each way that its VMX instructions are found, and compares what it prints.
pub fn check(make: impl Fn() -> L1) {
    check_made(|| make().finish());
}

/// Likewise, an image that was put together otherwise.
pub fn check_made(make: impl Fn() -> Made) {
    if !has_kvm("nested_soft") {
        return;
    }
    for catch in ["stops", "steps"] {
        check_catching(catch, &make);
    }
}

fn check_catching(catch: &str, make: &impl Fn() -> Made) {
    let made = make();
    let ran = run(&Guest::new().code(&made.image).elf(), catch);
    for (line, (seen, wanted)) in ran.output.lines().zip(made.expected.lines()).enumerate() {
        assert_eq!(seen, wanted, "line {line}, catch={catch}: {ran:?}");
    }
    let expected = match made.shuts_down {
        true => Some(5),
        false => Some(1),
    };
    assert_eq!(
        (ran.output.as_str(), ran.status),
        (made.expected.as_str(), expected),
        "catch={catch}: {ran:?}"
    );
    match made.shuts_down {
        true => assert!(ran.complaint().contains("triple fault"), "{ran:?}"),
        false => assert_eq!(ran.errors, ""),
    }
}

/// Runs a kernel that is given VMX; one that hangs is killed and reported.
pub fn run(kernel: &[u8], catch: &str) -> Ran {
    run_with(kernel, &["--nested", &format!("soft,catch={catch}")])
}

/// Runs a kernel with these options.
pub fn run_with(kernel: &[u8], options: &[&str]) -> Ran {
    let machine = Machine::with_kernel(kernel);
    let options = [options, &["--debug-exit", "port=0xf4"]].concat();
    let child = machine.command(&options).spawn().unwrap();
    let id = child.id() as libc::pid_t;
    let (done, waits) = mpsc::channel();
    thread::scope(|scope| {
        let waiter = scope.spawn(move || {
            let ran = Ran::of(child);
            let _ = done.send(());
            ran
        });
        let hangs = waits.recv_timeout(LIMIT).is_err();
        if hangs {
            // SAFETY: the child was not waited for when the time was over, or has just been, and a
            // process id is not used again that fast.
            unsafe { libc::kill(id, libc::SIGKILL) };
        }
        let ran = waiter.join().unwrap();
        assert!(!hangs, "the VMM hung: {ran:?}");
        ran
    })
}
