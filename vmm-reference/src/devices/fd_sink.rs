// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A file descriptor to write to, whatever mode it is in.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};

/// Writes to a file descriptor, unbuffered. One that somebody else has made non-blocking (standard
/// output is shared with the VMM's parent) is waited for.
#[derive(Debug)]
pub struct FdSink(File);

impl From<File> for FdSink {
    fn from(file: File) -> Self {
        Self(file)
    }
}

impl From<OwnedFd> for FdSink {
    fn from(fd: OwnedFd) -> Self {
        Self(File::from(fd))
    }
}

impl FdSink {
    fn wait(&self) -> io::Result<()> {
        let mut poll = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLOUT,
            revents: 0,
        };
        // SAFETY: one pollfd, which is writable, with a descriptor that is open.
        let ret = unsafe { libc::poll(&raw mut poll, 1, -1) };
        if ret < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

impl Write for FdSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait()?,
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    #[test]
    fn a_non_blocking_descriptor_is_waited_for() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut sink = FdSink::from(OwnedFd::from(ours));
        // More than a socket holds.
        let bytes = vec![0x5a; 4 << 20];
        let reader = thread::spawn(move || {
            let mut seen = Vec::new();
            theirs.read_to_end(&mut seen).map(|_| seen)
        });
        sink.write_all(&bytes).unwrap();
        drop(sink);
        assert!(reader.join().unwrap().unwrap() == bytes);
    }
}
