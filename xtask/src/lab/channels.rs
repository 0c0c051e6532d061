// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The ways out of a machine, and how one way is parted into several.

use std::io::{self, BufReader, PipeReader, Read, Write};
use std::thread;

use guest_init::channel::Channel;
use guest_init::frames;

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

/// The channels that come in frames on `from`, each on a pipe of its own. They end with it.
pub fn part(
    console: PipeReader,
    from: impl Read + Send + 'static,
) -> io::Result<Channels<PipeReader>> {
    let (stdout, mut to_stdout) = io::pipe()?;
    let (stderr, mut to_stderr) = io::pipe()?;
    let (report, mut to_report) = io::pipe()?;
    let pass = move || {
        let mut from = BufReader::new(from);
        // A frame that was cut off is the machine's end, and the report tells whether that was due.
        while let Ok(Some((channel, bytes))) = frames::decode(&mut from) {
            let pipe = match channel {
                Channel::Stdout => &mut to_stdout,
                Channel::Stderr => &mut to_stderr,
                Channel::Report => &mut to_report,
            };
            // One that nobody reads any more does not hold up the others.
            let _ = pipe.write_all(&bytes);
        }
    };
    thread::Builder::new()
        .name("channels".to_owned())
        .spawn(pass)?;
    Ok(Channels {
        console,
        stdout,
        stderr,
        report,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_has_its_pipe() {
        let mut stream = b"a banner\n".to_vec();
        for (channel, text) in [
            (Channel::Stdout, "out"),
            (Channel::Report, "report"),
            (Channel::Stderr, "err"),
            (Channel::Stdout, "put"),
        ] {
            stream.extend(frames::encode(channel, text.as_bytes()));
        }
        let (console, _) = io::pipe().unwrap();
        let parted = part(console, io::Cursor::new(stream)).unwrap();
        let read = |pipe| io::read_to_string(pipe).unwrap();
        assert_eq!(read(parted.stdout), "output");
        assert_eq!(read(parted.stderr), "err");
        assert_eq!(read(parted.report), "report");
    }
}
