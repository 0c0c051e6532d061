// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Explains a vmcs12, or the nested state of a vCPU as KVM saves it: whether KVM takes it back, its
//! fields by group, whether a VM entry with it succeeds, and what to change if not. For x86-64 Linux.
//!
//! ```sh
//! cargo run -p nested-vmx --example nested-vmx -- FILE
//! cargo run -p nested-vmx --example nested-vmx -- --capabilities MSRS --json FILE
//! cargo run -p nested-vmx --example nested-vmx -- --help
//! ```
//!
//! The status is 0 if KVM takes it and a VM entry succeeds, 1 if not, and 2 if an input cannot be read or
//! understood.

mod capabilities_file;
mod cli;
mod decode;
mod error;
mod input;
mod json;
mod nested_state;
mod report;
mod text;

use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = match cli::parse(std::env::args_os()) {
        Ok(options) => options,
        Err(error) => error.exit(),
    };
    let report = match report::Report::of(&options) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("nested-vmx: {error}");
            return ExitCode::from(2);
        }
    };
    let output = match options.json {
        true => json::render(&report),
        false => text::render(&report),
    };
    match io::stdout().lock().write_all(output.as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("nested-vmx: cannot write to standard output: {error}");
            return ExitCode::from(2);
        }
        _ => {}
    }
    match report.is_accepted() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
