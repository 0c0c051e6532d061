// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the two machines have in common, and which does what.

use std::fs::File;
use std::io::PipeReader;

use guest_init::task::Machine;

use super::channels::Channels;
use super::job::Job;
use super::{svm, vmx};
use crate::debian::{self, Needed};
use crate::error::Error;
use crate::process::Running;

/// The initramfs, in a file that has no name any more.
#[derive(Debug)]
pub struct Initrd {
    /// The file.
    pub file: File,
    /// Its size.
    pub size: u64,
}

/// A machine that runs.
#[derive(Debug)]
pub struct Started {
    /// The emulator. Its standard error is a pipe.
    pub running: Running,
    /// What comes out of the machine.
    pub outputs: Channels<PipeReader>,
}

/// Installs what the machine needs.
pub fn prepare_host(machine: Machine) -> Result<(), Error> {
    let needed: &[Needed] = match machine {
        Machine::Svm => &svm::NEEDED,
        Machine::Vmx => &vmx::NEEDED,
    };
    debian::ensure(needed)
}

/// Starts the machine.
pub fn start(job: &Job, initrd: Initrd, memory_mib: u64) -> Result<Started, Error> {
    match job.task.machine {
        Machine::Svm => svm::start(job, initrd, memory_mib),
        Machine::Vmx => vmx::start(job, initrd, memory_mib),
    }
}

/// The emulator, for messages.
pub fn emulator(machine: Machine) -> &'static str {
    match machine {
        Machine::Svm => "QEMU",
        Machine::Vmx => "bochs",
    }
}

/// What matters of the last that the emulator said on standard error.
pub fn complaints(machine: Machine, said: &str) -> String {
    match machine {
        Machine::Svm => said.to_owned(),
        Machine::Vmx => vmx::complaints(said),
    }
}

/// How much memory a machine needs for an initramfs of this size, in MiB: the archive and its files
/// are there at the same time.
pub fn memory_for(machine: Machine, initrd_size: u64) -> u64 {
    // The least, and what the kernel and a nested guest take beside the files.
    let (least, headroom) = match machine {
        Machine::Svm => (1024, 512),
        Machine::Vmx => (512, 384),
    };
    (headroom + (initrd_size >> 20) * 2).max(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_with_the_files() {
        let svm = |size_mib: u64| memory_for(Machine::Svm, size_mib << 20);
        assert_eq!((svm(0), svm(100), svm(1000)), (1024, 1024, 2512));
        let vmx = |size_mib: u64| memory_for(Machine::Vmx, size_mib << 20);
        assert_eq!((vmx(0), vmx(64), vmx(100)), (512, 512, 584));
    }
}
