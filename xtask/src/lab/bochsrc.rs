// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What bochs is told: its configuration, and the kernel's command line that goes with it.

/// The firmware, and that of the display adapter.
pub const BIOS: &str = "/usr/share/bochs/BIOS-bochs-latest";
pub const VGA_BIOS: &str = "/usr/share/bochs/VGABIOS-lgpl-latest";

/// How many instructions are one second of the machine's time. Its time stamp counter counts them.
/// It is near what bochs does in a second, so that the machine's clock is near the host's.
const INSTRUCTIONS_PER_SECOND: u64 = 50_000_000;

/// One run's settings. Files are numbers of descriptors.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How much memory, in MiB.
    pub memory_mib: u64,
    /// What the machine starts with.
    pub start: Start,
    /// Where the first serial port leads.
    pub console: i32,
}

/// What a machine starts with.
#[derive(Clone, Copy, Debug)]
pub enum Start {
    /// A PC's firmware, and this disc.
    Disc(i32),
    /// This ROM, and nothing else.
    Rom(i32),
}

impl Start {
    fn text(self) -> String {
        match self {
            Self::Disc(disc) => format!(
                "romimage: file={BIOS}\n\
                 vgaromimage: file={VGA_BIOS}\n\
                 ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14\n\
                 ata0-master: type=cdrom, path=/dev/fd/{disc}, status=inserted\n\
                 boot: cdrom\n"
            ),
            Self::Rom(rom) => format!("romimage: file=/dev/fd/{rom}\nvga: extension=none\n"),
        }
    }
}

impl Settings {
    /// The configuration file.
    pub fn text(&self) -> String {
        let Self {
            memory_mib,
            start,
            console,
        } = self;
        let start = start.text();
        // rfb: the only display of Debian's bochs that needs neither a terminal nor a window
        // system. It waits for nobody, and who starts us sees to it that nobody can connect.
        // reset_on_triple_fault: the machine would boot again; so bochs ends.
        // sync=none: a machine that waits waits no longer than it takes to know that.
        format!(
            "display_library: rfb, options=\"timeout=0\"\n\
             plugin_ctrl: speaker=0, parallel=0, extfpuirq=1, iodebug=0, unmapped=1, serial=1\n\
             config_interface: textconfig\n\
             {start}\
             cpu: model=corei7_skylake_x, count=1, ips={INSTRUCTIONS_PER_SECOND}, \
             reset_on_triple_fault=0, ignore_bad_msrs=1\n\
             memory: guest={memory_mib}, host={memory_mib}\n\
             clock: sync=none, time0=utc\n\
             port_e9_hack: enabled=1\n\
             com1: enabled=1, mode=file, dev=/dev/fd/{console}\n\
             log: /dev/fd/2\n\
             panic: action=fatal\n\
             error: action=report\n\
             info: action=ignore\n\
             debug: action=ignore\n\
             mouse: enabled=0\n"
        )
    }
}

/// What the debugger, which is part of Debian's bochs, is told: to let the machine run.
pub const DEBUGGER: &str = "c\n";

/// The kernel's command line.
pub fn kernel_line() -> String {
    let tsc_khz = INSTRUCTIONS_PER_SECOND / 1000;
    // reboot: the way that ends bochs instead of starting the machine again.
    // cryptomgr.notests: the kernel's tests of its ciphers take half of the time to boot.
    // clearcpuid: fsrm is slow where it is emulated; the counters aperfmperf are not there, and the
    // kernel reads them at each tick.
    // rootfstype: the other kind of initramfs, tmpfs, holds no more than half of the memory.
    format!(
        "console=ttyS0,115200 quiet panic=-1 reboot=triple mitigations=off nopti nokaslr \
         no_timer_check tsc=reliable tsc_early_khz={tsc_khz} clocksource=tsc nowatchdog \
         random.trust_cpu=on cryptomgr.notests clearcpuid=fsrm,aperfmperf noxsave nopku \
         rootfstype=ramfs"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_reach_the_configuration() {
        let settings = Settings {
            memory_mib: 640,
            start: Start::Disc(7),
            console: 8,
        };
        let text = settings.text();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.contains(&"memory: guest=640, host=640"), "{text}");
        assert!(lines.contains(&"com1: enabled=1, mode=file, dev=/dev/fd/8"));
        assert!(text.contains("path=/dev/fd/7,"));
        // A line that begins with blanks would be no line of its own.
        assert!(lines.iter().all(|line| line.contains(": ")), "{text}");
        assert!(text.contains("ips=50000000, reset_on"), "{text}");
    }

    #[test]
    fn a_machine_without_firmware_has_nothing_but_its_rom() {
        let settings = Settings {
            memory_mib: 16,
            start: Start::Rom(9),
            console: 8,
        };
        let text = settings.text();
        assert!(text.contains("romimage: file=/dev/fd/9\n"), "{text}");
        assert!(!text.contains("BIOS") && !text.contains("ata0"), "{text}");
    }

    #[test]
    fn the_kernel_knows_how_fast_time_runs() {
        let line = kernel_line();
        assert!(line.split(' ').any(|word| word == "tsc_early_khz=50000"));
        assert!(!line.contains("  ") && !line.contains('\n'), "{line}");
    }
}
