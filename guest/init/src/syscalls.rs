// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The system calls that only process 1 makes, behind safe functions.

use std::arch::asm;
use std::ffi::{CString, c_int};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

/// What a signal means to process 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A child may have ended.
    Child,
    /// The machine shall end.
    End,
}

/// The signals by which programs ask process 1 to end the machine.
const END_SIGNALS: [c_int; 5] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGUSR1,
    libc::SIGUSR2,
];

/// The signals that [`next_event`] takes.
fn signal_set() -> libc::sigset_t {
    // SAFETY: all zeros is a value of this plain C type, and sigemptyset sets all of it.
    let mut set = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a live signal set.
    unsafe { libc::sigemptyset(&mut set) };
    for signal in END_SIGNALS.into_iter().chain([libc::SIGCHLD]) {
        // SAFETY: `set` is an initialized signal set and the number is a signal's.
        unsafe { libc::sigaddset(&mut set, signal) };
    }
    set
}

/// Blocks what [`next_event`] takes, in this thread, those it starts, and the commands that it starts
/// unless they [unblock](unblock_signals) it.
pub fn block_signals() {
    // SAFETY: the set is initialized; no old mask is asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &signal_set(), ptr::null_mut()) };
}

/// Undoes [`block_signals`], for a child.
pub fn unblock_signals() -> io::Result<()> {
    // SAFETY: the set is a whole one; the old mask is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &signal_set(), ptr::null_mut()) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Waits for the next signal.
pub fn next_event() -> Event {
    // SAFETY: the set is initialized; no details are asked for.
    let signal = unsafe { libc::sigwaitinfo(&signal_set(), ptr::null_mut()) };
    // An interrupted wait (-1) costs one look for children, which is harmless.
    if END_SIGNALS.contains(&signal) {
        Event::End
    } else {
        Event::Child
    }
}

/// Reaps one child that has ended: its process id and wait status.
pub fn reap() -> Option<(u32, c_int)> {
    let mut wait_status = 0;
    // SAFETY: the status is a live integer. Only processes of ours are reaped, and no other code
    // of this process waits for children.
    let pid = unsafe { libc::waitpid(-1, &mut wait_status, libc::WNOHANG) };
    u32::try_from(pid)
        .ok()
        .filter(|&pid| pid != 0)
        .map(|pid| (pid, wait_status))
}

/// Kills every process but this one.
pub fn kill_all() {
    // SAFETY: no memory is touched; the kernel spares process 1 itself.
    unsafe { libc::kill(-1, libc::SIGKILL) };
}

/// Mounts a file system that has no device and no options.
pub fn mount(kind: &str, target: &str) -> io::Result<()> {
    let (kind, target) = (CString::new(kind)?, CString::new(target)?);
    // SAFETY: three strings that end with a zero byte and outlive the call; no data.
    let result = unsafe {
        libc::mount(
            kind.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            0,
            ptr::null(),
        )
    };
    check(result.into())
}

/// Loads a kernel module. One that is loaded already is fine.
pub fn load_module(file: &File, parameters: &[u8]) -> io::Result<()> {
    let parameters = CString::new(parameters)?;
    let (fd, flags): (c_int, c_int) = (file.as_raw_fd(), 0);
    // SAFETY: the descriptor is open and the string ends with a zero byte.
    let result = unsafe { libc::syscall(libc::SYS_finit_module, fd, parameters.as_ptr(), flags) };
    match check(result) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

/// Writes `bytes` to an I/O port, one after the other.
pub fn write_port(port: u16, bytes: &[u8]) -> io::Result<()> {
    allow_port(port, true)?;
    // SAFETY: the port was opened to this thread; `bytes` are read and no memory is written. The
    // direction flag is clear, as it always is where no code is told otherwise.
    unsafe {
        asm!("rep outsb", in("dx") port, inout("rsi") bytes.as_ptr() => _,
             inout("rcx") bytes.len() => _, options(readonly, nostack, preserves_flags));
    }
    // Commands inherit what is allowed.
    allow_port(port, false)
}

/// Lets this thread, and those that it starts, write to an I/O port, or not.
fn allow_port(port: u16, allowed: bool) -> io::Result<()> {
    // SAFETY: no memory is touched.
    check(unsafe { libc::ioperm(port.into(), 1, allowed.into()) }.into())
}

/// Powers the machine off. Returns when that is not possible.
pub fn power_off() {
    // SAFETY: takes no arguments.
    unsafe { libc::sync() };
    // SAFETY: no memory is touched.
    unsafe { libc::reboot(libc::RB_POWER_OFF) };
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
