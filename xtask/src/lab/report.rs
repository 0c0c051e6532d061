// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Reads what process 1 of the machine reports.

use std::ffi::OsString;
use std::io::{BufReader, PipeReader};
use std::time::Instant;

use guest_init::report::Message;

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

/// What the report said, as far as it went.
#[derive(Debug, Default)]
pub struct Report {
    started: Option<Instant>,
    files: Vec<(OsString, Vec<u8>)>,
    status: Option<u8>,
    failure: Option<String>,
}

impl Report {
    /// Reads to the end, or to what cannot be read.
    pub fn read(pipe: PipeReader) -> Self {
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

    /// What came of the run; or why nothing did.
    pub fn finished(self) -> Result<Finished, String> {
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
}
