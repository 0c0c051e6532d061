// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How a command ended, as one number, by the shell's convention.

use std::io;

/// The command was found and could not be executed.
pub const NOT_EXECUTABLE: u8 = 126;

/// The command was not found.
pub const NOT_FOUND: u8 = 127;

/// A signal ended the command: this and the signal's number.
pub const SIGNALLED: u8 = 128;

/// The status that a wait status stands for, or `None` when the process has not ended.
pub fn from_wait_status(wait_status: i32) -> Option<u8> {
    if libc::WIFEXITED(wait_status) {
        u8::try_from(libc::WEXITSTATUS(wait_status)).ok()
    } else if libc::WIFSIGNALED(wait_status) {
        u8::try_from(libc::WTERMSIG(wait_status))
            .ok()?
            .checked_add(SIGNALLED)
    } else {
        None
    }
}

/// The status of a command that could not be started.
pub fn from_spawn_error(error: &io::Error) -> u8 {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_and_signal() {
        assert_eq!(from_wait_status(0), Some(0));
        assert_eq!(from_wait_status(255 << 8), Some(255));
        assert_eq!(from_wait_status(libc::SIGKILL), Some(137));
        assert_eq!(
            from_wait_status(libc::SIGSEGV | 0x80),
            Some(139),
            "with a core dump"
        );
    }

    #[test]
    fn stopped_has_not_ended() {
        assert_eq!(from_wait_status((libc::SIGSTOP << 8) | 0x7f), None);
    }

    #[test]
    fn not_found_and_not_executable() {
        let error = io::Error::from_raw_os_error;
        assert_eq!(from_spawn_error(&error(libc::ENOENT)), 127);
        assert_eq!(from_spawn_error(&error(libc::EACCES)), 126);
        assert_eq!(from_spawn_error(&error(libc::ENOEXEC)), 126);
    }
}
