// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One run: starts QEMU, passes its output through as it comes, and reads the report.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufReader, PipeReader, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use guest_init::report::Message;

use super::job::Job;
use super::machine::{Channels, Machine, QEMU, memory_for};
use crate::error::Error;
use crate::host;
use crate::process::Running;
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

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The command's status.
    pub status: u8,
    /// When the command was started.
    pub started: Option<Instant>,
    /// The files that were collected: paths in the machine, and contents.
    pub files: Vec<(OsString, Vec<u8>)>,
}

/// Runs the machine to its end.
pub fn run(mut job: Job, outputs: Outputs) -> Result<Finished, Error> {
    job.finish()?;
    let failed = |source| Error::Start {
        program: QEMU.to_owned(),
        source,
    };
    let (initrd, size) = write_initrd(&job)?;
    let needed_mib = memory_for(size) + job.extra_memory_mib;
    let memory_mib = job.memory_mib.unwrap_or(needed_mib);
    // Less than the default is the user's own choice, as long as the files go in.
    let least_mib = needed_mib.min(256 + (size >> 20) * 2);
    if memory_mib < least_mib {
        return Err(Error::Memory {
            size_mib: size >> 20,
            memory_mib,
            needed_mib: least_mib,
        });
    }

    let (console, console_end) = io::pipe().map_err(failed)?;
    let (stdout, stdout_end) = io::pipe().map_err(failed)?;
    let (stderr, stderr_end) = io::pipe().map_err(failed)?;
    let (report, report_end) = io::pipe().map_err(failed)?;
    let machine = Machine {
        vmlinux: &job.vmlinux,
        initrd: initrd.as_raw_fd(),
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
    command.args(machine.arguments()).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let ends = [console_end, stdout_end, stderr_end, report_end].map(OwnedFd::from);
    let inherited: Vec<_> = ends.into_iter().chain([initrd.into()]).collect();
    let mut qemu = Running::start(&mut command, &inherited)?;
    // Only QEMU holds the pipes' other ends now: they end with it.
    drop(inherited);

    let complaints = qemu.child.stderr.take().map(OwnedFd::from).map(File::from);
    let Outputs {
        stdout: mut to_stdout,
        stderr: mut to_stderr,
    } = outputs;
    thread::scope(|scope| {
        let log = scope.spawn(move || pump::tail(console, LOG_TAIL));
        let complaints = scope
            .spawn(move || complaints.map_or_else(String::new, |pipe| pump::tail(pipe, LOG_TAIL)));
        let report = scope.spawn(move || Report::read(report));
        // A command whose output nobody reads may go on for ever.
        let switch = qemu.switch();
        let off = move || switch.off();
        let stdout = scope.spawn(move || pump::pump_or(stdout, &mut *to_stdout, off));
        let stderr = scope.spawn(move || pump::pump_or(stderr, &mut *to_stderr, off));
        let ended = qemu.wait(Some(job.timeout));
        ended.map_err(|error| match error {
            Error::Timeout { limit, .. } => Error::Timeout {
                what: "the command in the emulated machine".to_owned(),
                limit,
            },
            other => other,
        })?;
        pump::join(stdout).map_err(Error::file("write", "standard output"))?;
        pump::join(stderr).map_err(Error::file("write", "standard error"))?;
        let (log, complaints) = (
            log.join().unwrap_or_default(),
            complaints.join().unwrap_or_default(),
        );
        report
            .join()
            .unwrap_or_default()
            .finished()
            .map_err(|reason| Error::Machine {
                reason: reason + &excerpt(&complaints, &log),
            })
    })
}

/// Writes the initramfs to a file that has no name any more, and thus cannot be left behind.
fn write_initrd(job: &Job) -> Result<(File, u64), Error> {
    let directory = job.vmlinux.parent().unwrap_or(&job.vmlinux);
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
    Ok((file, size))
}

/// What the report said, as far as it went.
#[derive(Default)]
struct Report {
    started: Option<Instant>,
    files: Vec<(OsString, Vec<u8>)>,
    status: Option<u8>,
    failure: Option<String>,
}

impl Report {
    /// Reads to the end, or to what cannot be read.
    fn read(pipe: PipeReader) -> Self {
        let mut reader = BufReader::new(pipe);
        let mut report = Self::default();
        loop {
            match Message::read_from(&mut reader) {
                Ok(Some(Message::Started)) => report.started = Some(Instant::now()),
                Ok(Some(Message::File { path, contents })) => report.files.push((path, contents)),
                Ok(Some(Message::Status(status))) => report.status = Some(status),
                Ok(Some(Message::Failed(reason))) => report.failure = Some(reason),
                Ok(None) => return report,
                Err(error) => {
                    report.failure = Some(format!("its report is broken: {error}"));
                    return report;
                }
            }
        }
    }

    fn finished(self) -> Result<Finished, String> {
        match (self.status, self.failure) {
            (Some(status), None) => Ok(Finished {
                status,
                started: self.started,
                files: self.files,
            }),
            (_, Some(reason)) => Err(reason),
            (None, None) if self.started.is_some() => {
                Err("it ended while the command ran".to_owned())
            }
            (None, None) => Err("it ended before the command was started".to_owned()),
        }
    }
}

/// What QEMU and the kernel said last, for an error message.
fn excerpt(complaints: &str, log: &str) -> String {
    let mut text = String::new();
    for (who, said) in [("QEMU", complaints), ("its console", log)] {
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
    fn a_report_without_a_status_says_how_far_it_went() {
        let failure = |report: Report| report.finished().unwrap_err();
        assert!(failure(Report::default()).contains("before the command was started"));
        let started = Report {
            started: Some(Instant::now()),
            ..Report::default()
        };
        assert!(failure(started).contains("while the command ran"));
        let failed = Report {
            failure: Some("no port".into()),
            ..Report::default()
        };
        assert_eq!(failure(failed), "no port");
    }

    #[test]
    fn an_excerpt_is_short() {
        let log = (0..100)
            .map(|n| format!("line {n}\r\n\n"))
            .collect::<String>();
        let text = excerpt("", &log);
        assert_eq!(text.lines().count(), 13);
        assert!(text.ends_with("its console: line 99"));
    }
}
