// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `lab svm`: QEMU and its command line.
//!
//! An AMD CPU with SVM, emulated instruction by instruction, so that it needs nothing of the host.
//! The kernel's console is one serial port; what the command prints, and the report of process 1,
//! come on virtio-serial ports, which change no byte and are fast.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use guest_init::channel::Channel;

use super::channels::Channels;
use super::job::Job;
use super::machine::{Initrd, Started};
use crate::debian::Needed;
use crate::error::Error;
use crate::host;
use crate::process::Running;

/// The program to start.
const QEMU: &str = "qemu-system-x86_64";

/// What must be installed.
pub const NEEDED: [Needed; 1] = [(QEMU, "qemu-system-x86")];

/// Starts the machine.
pub fn start(job: &Job, initrd: Initrd, memory_mib: u64) -> Result<Started, Error> {
    let pipe = || io::pipe().map_err(Error::start(QEMU));
    let (console, console_end) = pipe()?;
    let (stdout, stdout_end) = pipe()?;
    let (stderr, stderr_end) = pipe()?;
    let (report, report_end) = pipe()?;
    let settings = Settings {
        vmlinux: &job.kernel,
        initrd: initrd.file.as_raw_fd(),
        cpus: job.cpus,
        timers: job.timers,
        memory_mib,
        tsc_khz: host::tsc_khz(),
        outputs: Channels {
            console: console_end.as_raw_fd(),
            stdout: stdout_end.as_raw_fd(),
            stderr: stderr_end.as_raw_fd(),
            report: report_end.as_raw_fd(),
        },
    };
    let mut command = Command::new(QEMU);
    command.args(settings.arguments()).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let ends = [console_end, stdout_end, stderr_end, report_end].map(OwnedFd::from);
    let inherited: Vec<_> = ends.into_iter().chain([initrd.file.into()]).collect();
    // When this returns only QEMU holds the pipes' other ends: they end with it.
    Ok(Started {
        running: Running::start(&mut command, &inherited)?,
        outputs: Channels {
            console,
            stdout,
            stderr,
            report,
        },
    })
}

/// One run's settings.
#[derive(Clone, Copy, Debug)]
struct Settings<'a> {
    /// The kernel, an ELF image.
    vmlinux: &'a Path,
    /// The number of a descriptor that the initramfs can be read from.
    initrd: i32,
    /// How many CPUs.
    cpus: u32,
    /// How much memory, in MiB.
    memory_mib: u64,
    /// How its kernel's timers fire.
    timers: Timers,
    /// The host's time stamp counter, in kHz.
    tsc_khz: u64,
    /// The numbers of the descriptors for the kernel's log and the three ports.
    outputs: Channels<i32>,
}

/// How the timers of the machine's kernel fire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timers {
    /// At the next tick of a periodic clock, 4 ms apart.
    #[default]
    Periodic,
    /// When they are due. For a machine with one CPU: with two it was seen to stand still, as if an
    /// interrupt of the timer that is set anew each time had been lost while a nested guest was
    /// entered or left. A periodic one comes again.
    Highres,
}

impl Timers {
    fn kernel_arguments(self) -> &'static str {
        match self {
            Self::Periodic => "highres=off nohz=off",
            Self::Highres => "highres=on",
        }
    }
}

impl Settings<'_> {
    /// QEMU's arguments.
    fn arguments(&self) -> Vec<OsString> {
        let Self {
            initrd,
            cpus,
            memory_mib,
            timers,
            tsc_khz,
            outputs,
            ..
        } = self;
        // rootfstype: the other kind of initramfs, tmpfs, holds no more than half of the memory.
        // tsc_early_khz: the guest sees the host's counter, and measuring it on a busy host goes
        // wrong by far.
        let kernel_line = format!(
            "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable no_timer_check \
             random.trust_cpu=on {} rootfstype=ramfs tsc_early_khz={tsc_khz}",
            timers.kernel_arguments()
        );
        let mut arguments: Vec<OsString> = [
            "-nodefaults -no-user-config -no-reboot -display none -monitor none",
            "-machine q35 -accel tcg,thread=multi -cpu max,-xsave",
            &format!("-smp {cpus} -m {memory_mib}"),
            "-device isa-debug-exit,iobase=0xf4,iosize=4",
            "-device virtio-serial-pci",
        ]
        .join(" ")
        .split(' ')
        .map(OsString::from)
        .collect();
        let mut add = |option: &str, value: &str| {
            arguments.extend([OsString::from(option), OsString::from(value)]);
        };
        let ports = [
            ("stdout", outputs.stdout, Channel::Stdout.port()),
            ("stderr", outputs.stderr, Channel::Stderr.port()),
            ("report", outputs.report, Channel::Report.port()),
        ];
        let all = [("console", outputs.console, "")].into_iter().chain(ports);
        for (set, (id, fd, name)) in (1..).zip(all) {
            add("-add-fd", &format!("fd={fd},set={set}"));
            add(
                "-chardev",
                &format!("file,id={id},path=/dev/fdset/{set},append=on"),
            );
            if name.is_empty() {
                add("-serial", &format!("chardev:{id}"));
            } else {
                add(
                    "-device",
                    &format!("virtserialport,chardev={id},name={name}"),
                );
            }
        }
        add("-append", &kernel_line);
        add("-initrd", &format!("/proc/self/fd/{initrd}"));
        arguments.extend(["-kernel".into(), self.vmlinux.into()]);
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments() -> Vec<String> {
        let settings = Settings {
            vmlinux: Path::new("/a dir/vmlinux"),
            initrd: 9,
            cpus: 2,
            memory_mib: 1024,
            timers: Timers::Periodic,
            tsc_khz: 2_000_123,
            outputs: Channels {
                console: 3,
                stdout: 4,
                stderr: 5,
                report: 6,
            },
        };
        settings
            .arguments()
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    /// The values of all options of this name.
    fn values(option: &str) -> Vec<String> {
        let arguments = arguments();
        let pairs = arguments.iter().zip(arguments.iter().skip(1));
        pairs
            .filter(|(name, _)| *name == option)
            .map(|(_, value)| value.clone())
            .collect()
    }

    #[test]
    fn settings_reach_the_command_line() {
        assert_eq!(values("-smp"), ["2"]);
        assert_eq!(values("-m"), ["1024"]);
        assert_eq!(values("-kernel"), ["/a dir/vmlinux"]);
        assert_eq!(values("-initrd"), ["/proc/self/fd/9"]);
        assert!(values("-append")[0].ends_with(" tsc_early_khz=2000123"));
    }

    #[test]
    fn each_descriptor_has_its_device() {
        assert_eq!(
            values("-add-fd"),
            ["fd=3,set=1", "fd=4,set=2", "fd=5,set=3", "fd=6,set=4"]
        );
        assert_eq!(values("-serial"), ["chardev:console"]);
        let devices = values("-device");
        assert!(devices.contains(&"virtserialport,chardev=report,name=lab.report".to_owned()));
    }
}
