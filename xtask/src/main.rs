// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The workspace's own commands: `cargo xtask boot`, `lab`, `test`, `fuzz`, `coverage`,
//! `bench`, `traces`.
//!
//! Everything that is fetched or built lies under cargo's target directory, and is put there whole
//! or not at all (`store`). Nothing that was started is left running (`process`).

mod bench;
mod boot;
mod cli;
mod coverage;
mod debian;
mod elf;
mod error;
mod fuzz;
mod guest;
mod host;
mod initramfs;
mod kernel;
mod lab;
mod libraries;
mod pack;
mod process;
mod progress;
mod pump;
mod store;
mod test;
mod tools;
mod traces;
mod workspace;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            progress::say(&format!("error: {error}"));
            ExitCode::from(error.status())
        }
    }
}
