// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The program bochs, started with a configuration.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::bochsrc::{self, Settings};
use crate::error::Error;
use crate::process::Running;
use crate::store::Scratch;

/// The program's name.
pub const BOCHS: &str = "bochs";

/// Starts bochs, which takes over the files that the settings name: they end with it. Its standard
/// output and error are pipes.
pub fn start(settings: &Settings, files: [OwnedFd; 2]) -> Result<Running, Error> {
    let configuration = unnamed("bochsrc", settings.text())?;
    let debugger = unnamed("debugger", bochsrc::DEBUGGER)?;
    let mut command = Command::new(BOCHS);
    for (option, file) in [("-f", &configuration), ("-rc", &debugger)] {
        command
            .arg(option)
            .arg(format!("/dev/fd/{}", file.as_raw_fd()));
    }
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: between fork and exec the function makes system calls only and allocates nothing.
    unsafe { command.pre_exec(hide_display) };
    let [one, other] = files;
    let inherited = [one, other, configuration.into(), debugger.into()];
    Running::start(&mut command, &inherited)
}

/// Writes a file that has no name any more.
pub fn unnamed(name: &str, contents: impl AsRef<[u8]>) -> Result<File, Error> {
    let scratch = Scratch::new()?;
    let path = scratch.path(name);
    fs::write(&path, contents).map_err(Error::file("write", &path))?;
    File::open(&path).map_err(Error::file("read", &path))
}

/// Gives the process a network of its own. Bochs's display is a server that takes the first port
/// that is free, on every interface and without a password; there nobody reaches it, and no other
/// bochs is in the way. Where that is not allowed it is what it is.
fn hide_display() -> io::Result<()> {
    // SAFETY: no memory is touched.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        // SAFETY: as above.
        unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_name_can_be_read() {
        let file = unnamed("bochsrc", "c\n").unwrap();
        let path = format!("/dev/fd/{}", file.as_raw_fd());
        assert_eq!(fs::read_to_string(path).unwrap(), "c\n");
    }
}
