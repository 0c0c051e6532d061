// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The machine: QEMU's command line.
//!
//! An AMD CPU with SVM, emulated instruction by instruction, so that it needs nothing of the host.
//! The kernel's console is one serial port; what the command prints, and the report of process 1,
//! come on virtio-serial ports, which change no byte and are fast.

use std::ffi::OsString;
use std::path::Path;

use guest_init::task;

/// The program to start.
pub const QEMU: &str = "qemu-system-x86_64";

/// The least memory, in MiB.
const BASE_MEMORY_MIB: u64 = 1024;

/// What the kernel and a nested guest take beside the packed files, in MiB.
const HEADROOM_MIB: u64 = 512;

/// One run's settings.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// The kernel, an ELF image.
    pub vmlinux: &'a Path,
    /// The number of a descriptor that the initramfs can be read from.
    pub initrd: i32,
    /// How many CPUs.
    pub cpus: u32,
    /// How much memory, in MiB.
    pub memory_mib: u64,
    /// How its kernel's timers fire.
    pub timers: Timers,
    /// The host's time stamp counter, in kHz.
    pub tsc_khz: u64,
    /// The numbers of the descriptors for the kernel's log and the three ports.
    pub outputs: Channels<i32>,
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

/// One of something for each way out of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Channels<T> {
    /// The kernel's console.
    pub console: T,
    /// The command's standard output.
    pub stdout: T,
    /// The command's standard error.
    pub stderr: T,
    /// The report.
    pub report: T,
}

/// How much memory a machine needs for an initramfs of this size: the archive and its files are
/// there at the same time.
pub fn memory_for(initrd_size: u64) -> u64 {
    let needed = HEADROOM_MIB + (initrd_size >> 20) * 2;
    needed.max(BASE_MEMORY_MIB)
}

impl Machine<'_> {
    /// QEMU's arguments.
    pub fn arguments(&self) -> Vec<OsString> {
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
            ("stdout", outputs.stdout, task::STDOUT_PORT),
            ("stderr", outputs.stderr, task::STDERR_PORT),
            ("report", outputs.report, task::REPORT_PORT),
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
        let machine = Machine {
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
        machine
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

    #[test]
    fn memory_grows_with_the_files() {
        assert_eq!(memory_for(0), 1024);
        assert_eq!(memory_for(100 << 20), 1024);
        assert_eq!(memory_for(1000 << 20), 2512);
    }
}
