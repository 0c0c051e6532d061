// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What process 1 of the emulated machine tells the host, on a port of its own.
//!
//! A report is a sequence of messages, each begun by a line:
//!
//! - `started`: the command is about to be executed,
//! - `file LENGTH PATH`, followed by LENGTH bytes: one of the files to collect,
//! - `status NUMBER`: how the command ended,
//! - `failed REASON`: why process 1 could not do its task.
//!
//! The last two end the report.

use std::ffi::OsString;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The most that one collected file may hold. The reader allocates what the guest announces.
pub const MAX_FILE: u64 = 64 << 20;

/// One message of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The command is about to be executed.
    Started,
    /// A file that was to be collected.
    File {
        /// Its path in the machine.
        path: OsString,
        /// What it holds.
        contents: Vec<u8>,
    },
    /// How the command ended.
    Status(u8),
    /// Why process 1 could not do its task.
    Failed(String),
}

impl Message {
    /// Writes the message.
    pub fn write_to(&self, mut writer: impl Write) -> io::Result<()> {
        let mut bytes = Vec::new();
        match self {
            Self::Started => bytes.extend_from_slice(b"started\n"),
            Self::File { path, contents } => {
                write!(bytes, "file {} ", contents.len())?;
                bytes.extend_from_slice(path.as_bytes());
                bytes.push(b'\n');
                bytes.extend_from_slice(contents);
            }
            Self::Status(status) => writeln!(bytes, "status {status}")?,
            Self::Failed(reason) => writeln!(bytes, "failed {}", reason.replace('\n', " "))?,
        }
        writer.write_all(&bytes)
    }

    /// Reads the next message, or `None` at the end.
    pub fn read_from(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if line.pop() != Some(b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let invalid = || {
            let line = String::from_utf8_lossy(&line);
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("not a report: {line:?}"),
            )
        };
        let mut fields = line.splitn(2, |&b| b == b' ');
        let (key, rest) = (
            fields.next().unwrap_or_default(),
            fields.next().unwrap_or_default(),
        );
        match key {
            b"started" => Ok(Some(Self::Started)),
            b"status" => number(rest)
                .map(|status| Some(Self::Status(status)))
                .ok_or_else(invalid),
            b"failed" => Ok(Some(Self::Failed(
                String::from_utf8_lossy(rest).into_owned(),
            ))),
            b"file" => {
                let mut fields = rest.splitn(2, |&b| b == b' ');
                let length = fields.next().and_then(number::<u64>).ok_or_else(invalid)?;
                let path = fields.next().ok_or_else(invalid)?.to_vec();
                if length > MAX_FILE {
                    return Err(invalid());
                }
                let mut contents = Vec::new();
                if reader.take(length).read_to_end(&mut contents)? as u64 != length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(Some(Self::File {
                    path: OsString::from_vec(path),
                    contents,
                }))
            }
            _ => Err(invalid()),
        }
    }
}

/// Reads a decimal number.
fn number<N: std::str::FromStr>(bytes: &[u8]) -> Option<N> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages() -> Vec<Message> {
        vec![
            Message::Started,
            Message::File {
                path: "/a b".into(),
                contents: b"status 1\n\0\xff".to_vec(),
            },
            Message::File {
                path: "/empty".into(),
                contents: Vec::new(),
            },
            Message::Status(255),
            Message::Failed("no such port".into()),
        ]
    }

    #[test]
    fn comes_back_whole() {
        let mut bytes = Vec::new();
        messages()
            .iter()
            .for_each(|message| message.write_to(&mut bytes).unwrap());
        let mut reader = bytes.as_slice();
        for message in messages() {
            assert_eq!(Message::read_from(&mut reader).unwrap(), Some(message));
        }
        assert_eq!(Message::read_from(&mut reader).unwrap(), None);
    }

    #[test]
    fn a_reason_stays_on_its_line() {
        let mut bytes = Vec::new();
        Message::Failed("a\nb".into()).write_to(&mut bytes).unwrap();
        assert_eq!(bytes, b"failed a b\n");
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        let mut bytes = Vec::new();
        let file = Message::File {
            path: "/p".into(),
            contents: vec![7; 10],
        };
        file.write_to(&mut bytes).unwrap();
        for length in 1..bytes.len() {
            assert!(
                Message::read_from(&mut &bytes[..length]).is_err(),
                "{length}"
            );
        }
    }

    #[test]
    fn what_is_not_a_report_is_refused() {
        let huge = format!("file {} /p\n", u64::MAX);
        for text in [
            "status 256\n",
            "status\n",
            "hello\n",
            "\n",
            "file 3\n",
            "file x /p\n",
            &huge,
        ] {
            assert!(Message::read_from(&mut text.as_bytes()).is_err(), "{text}");
        }
    }
}
