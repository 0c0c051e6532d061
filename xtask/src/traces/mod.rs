// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `cargo xtask traces`: runs `guest/l1` on bochs as a bare machine, where the processor itself is the
//! judge, and under the reference VMM on Linux's nested KVM, and compares what it prints.

mod report;
mod run;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use guest_l1::known::Comparison;

use crate::error::Error;
use crate::lab::{self, Machine};
use crate::store::Store;
use crate::workspace::Workspace;

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the traces are written, if not under the target directory.
    pub save: Option<PathBuf>,
    /// How long each of the machines may take.
    pub timeout: Duration,
}

/// Runs both, and returns 0 if all that differs is known.
pub fn command(options: Options) -> Result<u8, Error> {
    lab::prepare_host(Machine::Vmx)?;
    let workspace = Workspace::find()?;
    let directory = options
        .save
        .unwrap_or_else(|| workspace.target.join("xtask-traces"));
    fs::create_dir_all(&directory).map_err(Error::file("create", &directory))?;

    let bochs = run::on_bochs(options.timeout)?;
    let path = directory.join("bochs.txt");
    fs::write(&path, &bochs).map_err(Error::file("write", &path))?;
    let bochs = run::parse("bochs", &bochs)?;

    let store = Store::open(&workspace.target)?;
    let linux = run::on_linux(&workspace, store, options.timeout)?;
    let path = directory.join("linux.txt");
    fs::write(&path, &linux).map_err(Error::file("write", &path))?;
    let linux = run::parse("Linux's KVM", &linux)?;

    let comparison = Comparison::new(&bochs, &linux);
    print!("{}", report::text(&comparison));
    println!("the traces are in {}", directory.display());
    Ok(u8::from(!comparison.is_as_known()))
}
