// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Bochs as a bare machine: a ROM instead of firmware, nothing but a serial port.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

use super::bochsrc::{Settings, Start};
use super::{bochs, vmx};
use crate::error::Error;
use crate::pump;

/// More than such a program needs.
const MEMORY_MIB: u64 = 16;
/// How much of what the program prints is kept.
const SERIAL_LIMIT: usize = 16 << 20;
/// How much of bochs's log is kept for the case that it tells why the machine failed.
const LOG_TAIL: usize = 4 << 10;

/// Runs the program in `rom`, which ends at 4 GiB, until it writes `Shutdown` to port 0x8900. Returns
/// what it has written to the first serial port.
pub fn run_rom(rom: &[u8], limit: Duration) -> Result<String, Error> {
    let rom = bochs::unnamed("rom", rom)?;
    let failed = Error::start(bochs::BOCHS);
    let (serial, serial_end) = io::pipe().map_err(&failed)?;
    let settings = Settings {
        memory_mib: MEMORY_MIB,
        start: Start::Rom(rom.as_raw_fd()),
        console: serial_end.as_raw_fd(),
    };
    let mut emulator = bochs::start(&settings, [rom.into(), serial_end.into()])?;
    let log = emulator.child.stderr.take();
    let log = log.map(OwnedFd::from).map(File::from);
    let unused = emulator.child.stdout.take();
    thread::scope(|scope| {
        let printed = scope.spawn(|| pump::tail(serial, SERIAL_LIMIT));
        let log = scope.spawn(|| log.map_or_else(String::new, |pipe| pump::tail(pipe, LOG_TAIL)));
        // The debugger's greeting.
        let unused = scope.spawn(|| unused.map(|pipe| pump::tail(pipe, 1)));
        let ended = emulator.wait(Some(limit));
        let printed = printed.join().unwrap_or_default();
        let log = log.join().unwrap_or_default();
        let _ = unused.join();
        let last_words = || {
            let last = printed.lines().last().unwrap_or_default();
            format!(
                "\nthe program's last line: {last}\n{}",
                vmx::complaints(&log)
            )
        };
        match ended {
            // Its status says nothing: it is 1 where the machine has asked for its end.
            Ok(_) if log.contains(vmx::ASKED_FOR) => Ok(printed),
            Ok(_) => Err(Error::Machine {
                reason: format!("it did not shut down{}", last_words()),
            }),
            Err(Error::Timeout { limit, .. }) => Err(Error::Timeout {
                what: "the program on the bare machine".to_owned(),
                limit,
                last_words: last_words(),
            }),
            Err(error) => Err(error),
        }
    })
}
