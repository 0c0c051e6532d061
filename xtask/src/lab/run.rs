// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One run: starts the machine, passes its output through as it comes, and reads the report.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::thread;

use super::job::Job;
use super::machine::{self, Initrd, memory_for};
use super::report::{Finished, Report};
use crate::error::Error;
use crate::pump;

/// How much of the kernel's log is kept for the case that it tells why the machine failed.
const LOG_TAIL: usize = 4 << 10;

/// Where the command's output goes.
pub struct Outputs {
    /// Its standard output.
    pub stdout: Box<dyn Write + Send>,
    /// Its standard error.
    pub stderr: Box<dyn Write + Send>,
}

/// Runs the machine to its end.
pub fn run(mut job: Job, outputs: Outputs) -> Result<Finished, Error> {
    job.finish()?;
    let machine = job.task.machine;
    let initrd = write_initrd(&job)?;
    let size_mib = initrd.size >> 20;
    let needed_mib = memory_for(machine, initrd.size) + job.extra_memory_mib;
    let memory_mib = job.memory_mib.unwrap_or(needed_mib);
    // Less than the default is the user's own choice, as long as the files go in.
    let least_mib = needed_mib.min(256 + size_mib * 2);
    if memory_mib < least_mib {
        return Err(Error::Memory {
            size_mib,
            memory_mib,
            needed_mib: least_mib,
        });
    }

    let mut started = machine::start(&job, initrd, memory_mib)?;
    let complaints = started.running.child.stderr.take();
    let complaints = complaints.map(OwnedFd::from).map(File::from);
    let (emulator, from) = (started.running, started.outputs);
    let Outputs {
        stdout: mut to_stdout,
        stderr: mut to_stderr,
    } = outputs;
    thread::scope(|scope| {
        let log = scope.spawn(move || pump::tail(from.console, LOG_TAIL));
        let complaints = scope
            .spawn(move || complaints.map_or_else(String::new, |pipe| pump::tail(pipe, LOG_TAIL)));
        let report = scope.spawn(move || Report::read(from.report));
        // A command whose output nobody reads may go on for ever.
        let switch = emulator.switch();
        let off = move || switch.off();
        let stdout = scope.spawn(move || pump::pump_or(from.stdout, &mut *to_stdout, off));
        let stderr = scope.spawn(move || pump::pump_or(from.stderr, &mut *to_stderr, off));
        let ended = emulator.wait(Some(job.timeout));
        let (log, complaints) = (
            log.join().unwrap_or_default(),
            complaints.join().unwrap_or_default(),
        );
        let last_words = || {
            let complaints = machine::complaints(machine, &complaints);
            excerpt(machine::emulator(machine), &complaints, &log)
        };
        ended.map_err(|error| match error {
            Error::Timeout { limit, .. } => Error::Timeout {
                what: "the command in the emulated machine".to_owned(),
                limit,
                last_words: last_words(),
            },
            other => other,
        })?;
        pump::join(stdout).map_err(Error::file("write", "standard output"))?;
        pump::join(stderr).map_err(Error::file("write", "standard error"))?;
        report
            .join()
            .unwrap_or_default()
            .finished()
            .map_err(|reason| Error::Machine {
                reason: reason + &last_words(),
            })
    })
}

/// Writes the initramfs to a file that has no name any more, and thus cannot be left behind.
fn write_initrd(job: &Job) -> Result<Initrd, Error> {
    let directory = job.kernel.parent().unwrap_or(&job.kernel);
    let path = directory.join(format!("initrd-{}", std::process::id()));
    let unwritten = |source| Error::File {
        action: "write",
        path: path.clone(),
        source,
    };
    let mut options = File::options();
    let file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path);
    let file = file.map_err(unwritten)?;
    fs::remove_file(&path).map_err(unwritten)?;
    let size = job.tree.write_to(io::BufWriter::new(&file))?;
    Ok(Initrd { file, size })
}

/// What the emulator and the kernel said last, for an error message.
fn excerpt(emulator: &str, complaints: &str, log: &str) -> String {
    let mut text = String::new();
    for (who, said) in [(emulator, complaints), ("its console", log)] {
        let lines: Vec<_> = said
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty())
            .collect();
        for line in lines.iter().skip(lines.len().saturating_sub(12)) {
            text += &format!("\n  {who}: {line}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short() {
        let log = (0..100)
            .map(|n| format!("line {n}\r\n\n"))
            .collect::<String>();
        let text = excerpt("QEMU", "", &log);
        assert_eq!(text.lines().count(), 13);
        assert!(text.ends_with("its console: line 99"));
    }
}
