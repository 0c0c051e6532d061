// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The serial port and the two ends of its line.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use vmm_sys_util::eventfd::EventFd;

use super::error::{VmmError, host};
use crate::config::SerialConfig;
use crate::devices::{ConsoleInput, ConsoleOutput, FdSink, SerialPort};
use crate::outcome::{FirstOutcome, Outcome};
use crate::output_path;

/// Finds out early whether the console's output can go where `config` says. Changes nothing.
pub(super) fn check(config: &SerialConfig) -> Result<(), VmmError> {
    let SerialConfig::File(path) = config else {
        return Ok(());
    };
    let place = match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    };
    let checked = match fs::metadata(path) {
        Ok(_) => output_path::open(path, OpenOptions::new().write(true)).map(drop),
        // It is to be made, in a directory that has to be there.
        Err(_) => fs::read_dir(place).map(drop),
    };
    checked.map_err(|source| VmmError::SerialFile {
        path: path.clone(),
        source,
    })
}

/// The serial port and where it leads.
pub(super) struct Console {
    pub(super) port: Arc<SerialPort>,
    pub(super) output: ConsoleOutput,
    /// Told when the port can take input again.
    room: EventFd,
    /// The port's interrupt line.
    interrupt: EventFd,
}

impl Console {
    /// Opens what `config` names. A file is emptied, so nothing may go wrong after this that could
    /// be told before.
    pub(super) fn open(config: &SerialConfig, first: &Arc<FirstOutcome>) -> Result<Self, VmmError> {
        let event = || EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC);
        let interrupt = event().map_err(host("make an eventfd"))?;
        let room = event().map_err(host("make an eventfd"))?;
        let sink = match config {
            SerialConfig::Stdio => io::stdout()
                .as_fd()
                .try_clone_to_owned()
                .map(FdSink::from)
                .map_err(host("duplicate standard output"))?,
            SerialConfig::File(path) => {
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(true);
                output_path::open(path, &mut options)
                    .map(FdSink::from)
                    .map_err(|source| VmmError::SerialFile {
                        path: path.clone(),
                        source,
                    })?
            }
        };
        let reported = Arc::clone(first);
        let output = ConsoleOutput::start(sink, move |error| {
            reported.report(Outcome::ConsoleFailed(error));
        })
        .map_err(host("start the console's thread"))?;
        let told = room.try_clone().map_err(host("duplicate an eventfd"))?;
        let line = interrupt
            .try_clone()
            .map_err(host("duplicate an eventfd"))?;
        Ok(Self {
            port: Arc::new(SerialPort::new(line, output.clone(), told)),
            output,
            room,
            interrupt,
        })
    }

    /// The port's interrupt line, to be connected.
    pub(super) fn interrupt(&self) -> &EventFd {
        &self.interrupt
    }

    /// Standard input, for the event loop.
    pub(super) fn input(&self) -> io::Result<ConsoleInput> {
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        let room = self.room.try_clone()?;
        Ok(ConsoleInput::new(stdin, self.port.clone(), room))
    }
}
