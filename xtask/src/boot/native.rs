// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A boot on this host's KVM.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use guest_init::status;
use vmm_reference::config::SerialConfig;

use super::accel::Accel;
use super::console::{self, Console};
use super::stamp::Stamp;
use super::{Boot, Outcome, flags};
use crate::error::Error;
use crate::process::Running;
use crate::pump;
use crate::store::Scratch;

/// Boots and waits for the end.
pub fn run(boot: Boot) -> Result<Outcome, Error> {
    let Boot {
        mut config,
        vmm,
        timeout,
        json,
    } = boot;
    let scratch = Scratch::new()?;
    let summary = config
        .summary
        .get_or_insert_with(|| scratch.path("summary.json"))
        .clone();
    // What is there already is not this run's.
    let summary = Stamp::before(&summary);
    let serial = match &config.serial {
        SerialConfig::File(path) => Some(Stamp::before(path)),
        SerialConfig::Stdio => None,
    };
    let mut command = Command::new(vmm);
    command
        .args(flags::to_arguments(&config))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());

    let (mut console, sighting) = Console::new(pump::guest_console(json));
    let started = Instant::now();
    let mut running = Running::start(&mut command, &[])?;
    let stdout = running
        .child
        .stdout
        .take()
        .map(OwnedFd::from)
        .map(fs::File::from);
    let (ended, shown) = thread::scope(|scope| {
        let output = scope.spawn(|| stdout.map_or(Ok(()), |pipe| pump::pump(pipe, &mut console)));
        (running.wait(Some(timeout)), pump::join(output))
    });
    let ended = ended?;
    shown.map_err(Error::file("write", "the guest's console"))?;
    if let Some(written) = serial.and_then(|serial| serial.written()) {
        let unshown = Error::file("write", "the guest's console");
        io::Write::write_all(&mut console, &written).map_err(unshown)?;
    }
    Ok(Outcome {
        accel: Accel::Kvm,
        status: status::from_wait_status(ended.into_raw()).unwrap_or(1),
        greeting: console::seen(&sighting)
            .map(|(greeting, at)| (greeting, at.duration_since(started))),
        vmm: summary
            .written()
            .and_then(|text| serde_json::from_slice(&text).ok()),
    })
}
