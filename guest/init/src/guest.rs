// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The life in a guest of the reference VMM: greet, run what the kernel command line asks for.

use std::fs;
use std::path::Path;
use std::process::Command;

use guest_init::command_line;

use crate::{facts, supervise};

/// Greets, and returns the status of the command, if there was one to run.
pub fn run() -> Option<u8> {
    println!("{}", facts::greeting());
    let line = fs::read("/proc/cmdline").unwrap_or_default();
    let words = command_line::command(&String::from_utf8_lossy(&line));
    let (program, arguments) = words.split_first()?;
    let command = supervise::find(program.as_ref(), supervise::PATH).map(|path| {
        let mut command = Command::new(path);
        command
            .args(arguments)
            .env("PATH", supervise::PATH)
            .current_dir(Path::new("/"));
        command
    });
    Some(match supervise::start(program.as_ref(), command) {
        Ok(child) => {
            let status = supervise::wait(&child);
            supervise::end_the_rest();
            status
        }
        Err(failure) => {
            println!("init: {failure}");
            failure.status()
        }
    })
}
