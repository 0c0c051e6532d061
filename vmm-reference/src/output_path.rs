// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Opens what a user named for output, which may be a pipe without a reader.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens `path` with `options`, and fails (ENXIO, in words) where a FIFO has no reader instead of
/// waiting for one.
pub(crate) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ENXIO) => io::Error::new(
                io::ErrorKind::NotConnected,
                "nobody reads from this pipe; start its reader first",
            ),
            _ => error,
        })?;
    let fd = file.as_raw_fd();
    // SAFETY: F_GETFL takes no argument and touches no memory; the file is open.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: F_SETFL takes an int and touches no memory; the file is open.
    let ret = unsafe { libc::fcntl(fd, libc::F_SETFL, flags & !libc::O_NONBLOCK) };
    if ret < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}
