// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The VMM's own log, on standard error.

use std::io::Write;

use env_logger::Target;
use log::LevelFilter;

/// Begins to log what is at least as grave as `level`. A logger that is there already stays.
pub fn start(level: LevelFilter) {
    let started = env_logger::Builder::new()
        .filter_level(level)
        .target(Target::Stderr)
        .format(|out, record| {
            let level = record.level().as_str().to_lowercase();
            writeln!(out, "vmm-reference: {level}: {}", record.args())
        })
        .try_init();
    if started.is_err() {
        log::debug!("the program logs already");
    }
}
