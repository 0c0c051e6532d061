// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `cargo xtask lab`: runs a command in an emulated machine that has hardware virtualization.

mod bare;
mod bochs;
mod bochsrc;
mod channels;
mod disc;
mod job;
mod machine;
mod report;
mod run;
mod svm;
mod vmx;

pub use bare::run_rom;
pub use guest_init::task::Machine;
pub use job::Job;
pub use machine::prepare_host;
pub use run::{Outputs, run};
pub use svm::Timers;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;
use crate::store::Store;
use crate::workspace::Workspace;

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which machine.
    pub machine: Machine,
    /// A directory whose contents the command finds in its working directory.
    pub directory: Option<PathBuf>,
    /// The machine's CPUs. Bochs's has one.
    pub cpus: u32,
    /// How the timers of QEMU's machine fire.
    pub timers: Timers,
    /// The machine's memory in MiB; as much as the packed files ask for, when not given.
    pub memory_mib: Option<u64>,
    /// Variables for the command's environment, `NAME=VALUE` each.
    pub environment: Vec<OsString>,
    /// How long all of it may take.
    pub timeout: Duration,
    /// The command and its arguments.
    pub command: Vec<OsString>,
}

/// Runs the command and returns its status.
pub fn command(options: Options) -> Result<u8, Error> {
    prepare_host(options.machine)?;
    let workspace = Workspace::find()?;
    let store = Store::open(&workspace.target)?;
    let mut job = Job::new(&workspace, &store, options.machine)?;
    drop(store);
    (job.cpus, job.memory_mib, job.timeout) = (options.cpus, options.memory_mib, options.timeout);
    job.timers = options.timers;
    job.task.environment.extend(options.environment);
    job.set_command(&options.command, options.directory.as_deref())?;
    let outputs = Outputs {
        stdout: Box::new(io::stdout()),
        stderr: Box::new(io::stderr()),
    };
    run(job, outputs).map(|finished| finished.status)
}
