// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One command and everything it leaves behind.
//!
//! Process 1 inherits the orphans of the whole machine, so children are not waited for one by one:
//! signals stay blocked and are taken one at a time, and each SIGCHLD reaps whatever has ended.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use guest_init::status;

use crate::syscalls::{self, Event};

/// Where commands are looked for, when nothing else is said.
pub const PATH: &str = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin";

/// Finds the program that `name` means: a path when it has a slash, else in `path`.
pub fn find(name: &OsStr, path: impl AsRef<OsStr>) -> Option<PathBuf> {
    if Path::new(name).components().count() != 1 || name.as_encoded_bytes().contains(&b'/') {
        return Some(PathBuf::from(name));
    }
    env::split_paths(path.as_ref())
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// Why a command did not start.
#[derive(Debug)]
pub enum StartError {
    /// No such program.
    NotFound(OsString),
    /// There is one, and the kernel does not execute it.
    NotExecuted(OsString, io::Error),
}

impl StartError {
    /// The status that a shell gives such a command.
    pub fn status(&self) -> u8 {
        match self {
            Self::NotFound(_) => status::NOT_FOUND,
            Self::NotExecuted(_, error) => status::from_spawn_error(error),
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(name) => write!(f, "{}: command not found", name.display()),
            Self::NotExecuted(name, error) => {
                write!(f, "{}: cannot be executed: {error}", name.display())
            }
        }
    }
}

/// Starts the command that `name` was found to mean.
pub fn start(name: &OsStr, command: Option<Command>) -> Result<Child, StartError> {
    let mut command = command.ok_or_else(|| StartError::NotFound(name.to_owned()))?;
    // The mask is handed on, and no program expects to begin with signals blocked.
    // SAFETY: the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(syscalls::unblock_signals) };
    command
        .spawn()
        .map_err(|error| StartError::NotExecuted(name.to_owned(), error))
}

/// Waits for the end of `child`, reaps orphans meanwhile, and returns the status.
pub fn wait(child: &Child) -> u8 {
    loop {
        while let Some((pid, wait_status)) = syscalls::reap() {
            if let (true, Some(status)) = (pid == child.id(), status::from_wait_status(wait_status))
            {
                return status;
            }
        }
        if syscalls::next_event() == Event::End {
            // Someone in the machine asked process 1 to end it.
            syscalls::kill_all();
        }
    }
}

/// Ends every process but this one.
pub fn end_the_rest() {
    syscalls::kill_all();
    while syscalls::reap().is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_like_in_a_shell() {
        assert_eq!(find("/no/such".as_ref(), PATH), Some("/no/such".into()));
        assert_eq!(find("./x".as_ref(), PATH), Some("./x".into()));
        assert_eq!(find("no-such-program".as_ref(), PATH), None);
        assert!(find("sh".as_ref(), PATH).unwrap().is_file());
        assert_eq!(find("sh".as_ref(), ""), None);
    }
}
