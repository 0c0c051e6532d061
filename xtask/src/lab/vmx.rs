// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `lab vmx`: bochs.
//!
//! An Intel CPU with VMX, emulated instruction by instruction; Linux's KVM in it offers nested VMX.
//! The kernel's console is a serial port. A serial port is as slow in bochs as it was in a PC, so
//! what the command prints, and the report of process 1, come on the I/O port whose bytes bochs
//! passes to its own standard output, in frames.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::bochs;
use super::bochsrc::{self, Settings, Start};
use super::job::Job;
use super::machine::{Initrd, Started};
use super::{channels, disc};
use crate::debian::Needed;
use crate::error::Error;

/// What must be installed.
pub const NEEDED: [Needed; 6] = [
    (bochs::BOCHS, "bochs"),
    (bochsrc::BIOS, "bochsbios"),
    (bochsrc::VGA_BIOS, "vgabios"),
    (disc::ISOLINUX, "isolinux"),
    (disc::LDLINUX, "syslinux-common"),
    (disc::XORRISO, "xorriso"),
];

/// Starts the machine.
pub fn start(job: &Job, initrd: Initrd, memory_mib: u64) -> Result<Started, Error> {
    let disc = disc::make(&job.kernel, &initrd, &bochsrc::kernel_line())?;
    drop(initrd);
    let failed = Error::start(bochs::BOCHS);
    let (console, console_end) = io::pipe().map_err(&failed)?;
    let settings = Settings {
        memory_mib,
        start: Start::Disc(disc.as_raw_fd()),
        console: console_end.as_raw_fd(),
    };
    let mut running = bochs::start(&settings, [disc.into(), console_end.into()])?;
    let frames = running.child.stdout.take().map(OwnedFd::from);
    let frames = frames.ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
    let outputs = channels::part(console, File::from(frames)).map_err(&failed)?;
    Ok(Started { running, outputs })
}

/// What bochs's log says where the machine has asked for its end.
pub const ASKED_FOR: &str = "shutdown requested";

/// What matters in bochs's log: why it gave up, or else its errors.
pub fn complaints(log: &str) -> String {
    let reasons = log.lines().filter_map(|line| line.split_once(">>PANIC<<"));
    let mut reasons = reasons.map(|(_, reason)| reason.trim());
    match reasons.find(|reason| !reason.contains(SHUTDOWN)) {
        Some(reason) => format!("it gave up: {reason}\n"),
        None => log
            .lines()
            .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()))
            .filter(|line| [SHUTDOWN, UNKNOWN_MSR].iter().all(|it| !line.contains(it)))
            .map(|line| format!("{line}\n"))
            .collect(),
    }
}

/// That the machine asked for its end is, to bochs, a reason to give up.
const SHUTDOWN: &str = "shutdown requested";

/// The kernel tries many registers that there may be.
const UNKNOWN_MSR: &str = "MSR: Unknown register";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_it_gave_up() {
        let log = "00000000012e[CPU0  ] RDMSR: Unknown register 0x8b\n\
                   00000000000p[MEM0  ] >>PANIC<< ROM: couldn't open ROM image file 'x'.\n    \n\
                   ======\nBochs is exiting with the following message:\n[MEM0  ] ROM: x\n";
        let reason = "it gave up: ROM: couldn't open ROM image file 'x'.\n";
        assert_eq!(complaints(log), reason);
    }

    #[test]
    fn an_end_that_was_asked_for_is_no_reason() {
        let log = "00000000012e[CPU0  ] RDMSR: Unknown register 0x8b\n\
                   00000000013e[CPU0  ] VMFAIL: VMLAUNCH\n\
                   02284015733p[UNMAP ] >>PANIC<< Shutdown port: shutdown requested\n\
                   ======\nBochs is exiting with the following message:\n\
                   [UNMAP ] Shutdown port: shutdown requested\n======\n";
        assert_eq!(complaints(log), "00000000013e[CPU0  ] VMFAIL: VMLAUNCH\n");
    }
}
