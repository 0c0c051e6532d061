// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Process 1: see the library's first page. Whatever fails, the machine is ended from here;
//! process 1 must not return, the kernel would panic.

mod facts;
mod guest;
mod lab;
mod mounts;
mod ports;
mod supervise;
mod syscalls;

use std::panic::{self, UnwindSafe};
use std::path::Path;
use std::process::ExitCode;

use guest_init::task;

fn main() -> ExitCode {
    if std::process::id() != 1 {
        // Anywhere else it would mount over the host's directories and signal every process.
        eprintln!("init: this program is process 1 of a guest and runs as nothing else");
        return ExitCode::FAILURE;
    }
    syscalls::block_signals();
    mounts::mount_all();
    if Path::new(task::PATH).exists() {
        let status = survive(lab::run).unwrap_or(1);
        println!("init: status {status}");
        lab::end(status);
    } else if let Some(Some(status)) = survive(guest::run) {
        println!("init: status {status}");
    }
    // Of no return, except where the machine cannot be powered off.
    syscalls::power_off();
    println!("init: this machine cannot be powered off");
    loop {
        std::thread::park();
    }
}

/// Runs `life`; a panic in it (its message is on the console) does not take process 1 along.
fn survive<T>(life: impl FnOnce() -> T + UnwindSafe) -> Option<T> {
    panic::catch_unwind(life).ok()
}
