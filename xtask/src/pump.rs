// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Passes the output of a child on, as it comes.

use std::io::{self, Read, Write};
use std::thread::ScopedJoinHandle;

/// Writes what comes to `output`, at once. When nobody reads that any more, the rest is dropped,
/// so that the child is not held up, and the first error is returned at the end.
pub fn pump(from: impl Read, output: &mut (impl Write + ?Sized)) -> io::Result<()> {
    pump_or(from, output, || ())
}

/// As [`pump`]; `unread` is called when it turns out that nobody reads.
pub fn pump_or(
    mut from: impl Read,
    output: &mut (impl Write + ?Sized),
    unread: impl FnOnce(),
) -> io::Result<()> {
    let mut unread = Some(unread);
    let mut buffer = vec![0; 64 << 10];
    let mut written = Ok(());
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let bytes = buffer.get(..length).unwrap_or_default();
        written = written
            .and_then(|()| output.write_all(bytes))
            .and_then(|()| output.flush());
        if written.is_err()
            && let Some(unread) = unread.take()
        {
            unread();
        }
    }
    written
}

/// Reads to the end and returns the last part, of at most `limit` bytes.
pub fn tail(mut from: impl Read, limit: usize) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        kept.extend_from_slice(buffer.get(..length).unwrap_or_default());
        kept.drain(..kept.len().saturating_sub(limit));
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// Where a guest's console is shown: standard output, unless that is kept for one line of JSON.
pub fn guest_console(json: bool) -> Box<dyn Write + Send> {
    if json {
        Box::new(io::stderr())
    } else {
        Box::new(io::stdout())
    }
}

/// The result of a thread that pumps.
pub fn join(thread: ScopedJoinHandle<'_, io::Result<()>>) -> io::Result<()> {
    thread
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the thread that writes it failed")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn the_tail_of_a_log() {
        let log = "x".repeat(100_000) + "end";
        let kept = tail(log.as_bytes(), 1000);
        assert_eq!(kept.len(), 1000);
        assert!(kept.ends_with("xend"));
    }

    #[test]
    fn output_that_nobody_reads_is_dropped() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (reader, mut writer) = io::pipe().unwrap();
        let pumping = thread::spawn(move || pump(reader, &mut Closed));
        // More than a pipe holds.
        writer.write_all(&vec![0; 1 << 20]).unwrap();
        drop(writer);
        assert_eq!(
            pumping.join().unwrap().unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }
}
