// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `lab vmx`: bochs.
//!
//! An Intel CPU with VMX, emulated instruction by instruction; Linux's KVM in it offers nested VMX.
//! The kernel's console is a serial port. A serial port is as slow in bochs as it was in a PC, so
//! what the command prints, and the report of process 1, come on the I/O port whose bytes bochs
//! passes to its own standard output, in frames.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::bochsrc::{self, Settings};
use super::job::Job;
use super::machine::{Initrd, Started};
use super::{channels, disc};
use crate::debian::Needed;
use crate::error::Error;
use crate::process::Running;
use crate::store::Scratch;

/// The program to start.
const BOCHS: &str = "bochs";

/// What must be installed.
pub const NEEDED: [Needed; 6] = [
    (BOCHS, "bochs"),
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
    let failed = Error::start(BOCHS);
    let (console, console_end) = io::pipe().map_err(&failed)?;
    let settings = Settings {
        memory_mib,
        disc: disc.as_raw_fd(),
        console: console_end.as_raw_fd(),
    };
    let configuration = unnamed("bochsrc", &settings.text())?;
    let debugger = unnamed("debugger", bochsrc::DEBUGGER)?;
    let mut command = Command::new(BOCHS);
    for (option, file) in [("-f", &configuration), ("-rc", &debugger)] {
        command
            .arg(option)
            .arg(format!("/dev/fd/{}", file.as_raw_fd()));
    }
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: between fork and exec the function makes system calls only and allocates nothing.
    unsafe { command.pre_exec(hide_display) };
    let inherited = [
        disc.into(),
        console_end.into(),
        configuration.into(),
        debugger.into(),
    ];
    let mut running = Running::start(&mut command, &inherited)?;
    // Only bochs holds them now: they end with it.
    drop::<[OwnedFd; 4]>(inherited);
    let frames = running.child.stdout.take().map(OwnedFd::from);
    let frames = frames.ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
    let outputs = channels::part(console, File::from(frames)).map_err(&failed)?;
    Ok(Started { running, outputs })
}

/// Writes a file that has no name any more.
fn unnamed(name: &str, text: &str) -> Result<File, Error> {
    let scratch = Scratch::new()?;
    let path = scratch.path(name);
    fs::write(&path, text).map_err(Error::file("write", &path))?;
    File::open(&path).map_err(Error::file("read", &path))
}

/// Gives the process a network of its own. Bochs's display is a server that takes the first port
/// that is free, on every interface and without a password; there nobody reaches it, and no other
/// bochs is in the way. Where that is not allowed it is what it is.
fn hide_display() -> io::Result<()> {
    // SAFETY: no memory is touched.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        // SAFETY: as above.
        unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) };
    }
    Ok(())
}

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

    #[test]
    fn a_file_without_a_name_can_be_read() {
        let file = unnamed("bochsrc", "c\n").unwrap();
        let path = format!("/dev/fd/{}", file.as_raw_fd());
        assert_eq!(fs::read_to_string(path).unwrap(), "c\n");
    }
}
