// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Everything that can go wrong, each with the thing's name and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vmm_reference::cli::CliError;
use vmm_reference::kernel::KernelError;

/// A failure of one of the commands.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory that cannot be read or written.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// `read`, `write`, …
        action: &'static str,
        /// Which one.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },

    /// A program that cannot be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// Its name.
        program: String,
        /// The system's reason.
        source: io::Error,
    },

    /// A program that ran and failed.
    #[error("`{command}` failed ({status}){details}")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it said, begun by `: `, or nothing.
        details: String,
    },

    /// What a program printed is not what it is known to print.
    #[error("cannot make sense of what `{command}` printed: {reason}")]
    Output {
        /// The command line.
        command: String,
        /// What is wrong with it.
        reason: String,
    },

    /// This is no Debian.
    #[error(
        "`{0}` is missing: the packages are Debian's, so this needs Debian 12 or a system that \
         installs and downloads with apt-get"
    )]
    NoApt(&'static str),

    /// Debian packages are missing, and only root may install them.
    #[error(
        "{missing} missing; install with: sudo apt-get install --no-install-recommends {packages}"
    )]
    PackagesMissing {
        /// The programs and files that were looked for.
        missing: String,
        /// The packages that hold them.
        packages: String,
    },

    /// apt-get could not do what was asked of it.
    #[error(
        "apt-get cannot {action} {packages}: {reason}; check the network and \
         /etc/apt/sources.list, then run: {}apt-get update",
        if crate::host::is_root() { "" } else { "sudo " }
    )]
    Apt {
        /// `install` or `download`.
        action: &'static str,
        /// Of which packages.
        packages: String,
        /// The last thing it said.
        reason: String,
    },

    /// A Debian package does not hold what it is fetched for.
    #[error("the Debian package in {package} has no {what}; remove that directory and try again")]
    PackageContents {
        /// Where it is unpacked.
        package: PathBuf,
        /// What was looked for.
        what: String,
    },

    /// The kernel image cannot be unpacked.
    #[error("the kernel {path} {source}")]
    Kernel {
        /// The image.
        path: PathBuf,
        /// What is wrong with it.
        source: KernelError,
    },

    /// Flags that the VMM does not understand.
    #[error("the VMM's flags: {0}")]
    Flags(CliError),

    /// The VMM would refuse what its flags name.
    #[error("the VMM: {0}")]
    Vmm(#[from] vmm_reference::vmm::VmmError),

    /// Flags that make the VMM do something else.
    #[error("the VMM's flags: these are not a boot's; run target/release/vmm-reference itself")]
    NotABoot,

    /// A command that the host does not have.
    #[error("{0}: command not found; give a path, or the name of a program in PATH or in busybox")]
    CommandNotFound(String),

    /// A program that cannot run in the machine.
    #[error("{program} cannot run in the machine: {reason}")]
    Program {
        /// The program.
        program: PathBuf,
        /// Why not.
        reason: String,
    },

    /// What is packed does not fit in the machine.
    #[error(
        "the files for the machine take {size_mib} MiB, more than {memory_mib} MiB of memory can \
         hold; give --memory {needed_mib} or more"
    )]
    Memory {
        /// What is packed.
        size_mib: u64,
        /// What was given.
        memory_mib: u64,
        /// What is needed.
        needed_mib: u64,
    },

    /// The machine ended without a report.
    #[error("the emulated machine failed: {reason}")]
    Machine {
        /// Why, as far as is known.
        reason: String,
    },

    /// What `guest/l1` printed is no trace.
    #[error("the trace of {machine} is not whole: {source}")]
    Trace {
        /// Where it ran.
        machine: &'static str,
        /// What is wrong with it.
        source: guest_l1::trace::TraceError,
    },

    /// The time was up.
    #[error(
        "{what} took more than {} s and was ended; --timeout gives it more{last_words}",
        limit.as_secs()
    )]
    Timeout {
        /// What ran.
        what: String,
        /// How long it may.
        limit: Duration,
        /// The last that it said, each line begun by a line feed, or nothing.
        last_words: String,
    },

    /// A stage that there is not.
    #[error("no stage has {only:?} in its name; there are: {known}")]
    NoStage {
        /// What was asked for.
        only: String,
        /// All that there are.
        known: String,
    },

    /// Nightly Rust is missing.
    #[error("the nightly toolchain is missing; install it with: rustup toolchain install nightly")]
    NoNightly,

    /// A fuzz target that there is not.
    #[error("there is no fuzz target {target}; there are: {known}")]
    NoFuzzTarget {
        /// What was asked for.
        target: String,
        /// All that there are.
        known: String,
    },

    /// A fuzz target found a fault, or did not build.
    #[error("the fuzz target {target} failed; what it failed on, if anything, is in {artifacts}")]
    FuzzTargetFailed {
        /// Which one.
        target: String,
        /// Where its failing inputs are.
        artifacts: PathBuf,
    },

    /// Too few lines are covered by tests.
    #[error("too few lines are covered: {low}; add tests, the score is in {config}")]
    Coverage {
        /// The crates and their coverage.
        low: String,
        /// The file with the score.
        config: &'static str,
    },

    /// The score cannot be read.
    #[error(
        "{0} is not {{\"coverage_score\": NUMBER, \"exclude_path\": TEXT, \"crate_features\": TEXT}}"
    )]
    CoverageConfig(PathBuf),

    /// The user or the system asked us to stop.
    #[error("ended by signal {0}")]
    Interrupted(i32),
}

impl Error {
    /// Wraps an I/O error with what was done to which file.
    pub fn file(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    /// Wraps an I/O error with the program that was to be started.
    pub fn start(program: &str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Start {
            program: program.to_owned(),
            source,
        }
    }

    /// The status that the process ends with, as `timeout` and shells give it.
    pub fn status(&self) -> u8 {
        match self {
            Self::Timeout { .. } => 124,
            Self::CommandNotFound(_) => 127,
            Self::Program { .. } => 126,
            Self::Flags(_) | Self::NotABoot | Self::NoStage { .. } => 2,
            // Like any boot that comes to nothing.
            Self::Vmm(_) => 1,
            Self::Interrupted(signal) => u8::try_from(128 + signal).unwrap_or(255),
            _ => 125,
        }
    }
}
