// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The terminal: raw while the guest runs, and then exactly as it was, whatever ends the VMM.

#![allow(
    clippy::unwrap_used,
    reason = "parts of tests, though not themselves ones"
)]

mod machine;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use machine::{Guest, Machine, has_kvm, read_until, send};

/// A pseudo-terminal: our end, and the one that the VMM gets.
struct Terminal {
    ours: File,
    theirs: OwnedFd,
}

#[derive(Debug, PartialEq, Eq)]
struct Settings(u32, u32, u32, u32, [u8; libc::NCCS]);

impl Settings {
    fn is_raw(&self) -> bool {
        self.3 & (libc::ICANON | libc::ECHO | libc::ISIG) == 0
    }
}

impl Terminal {
    fn new() -> Self {
        let (mut ours, mut theirs) = (-1, -1);
        // SAFETY: openpty writes two descriptors; the rest is not asked for.
        let ret = unsafe {
            libc::openpty(
                &raw mut ours,
                &raw mut theirs,
                std::ptr::null_mut(),
                std::ptr::null(),
                std::ptr::null(),
            )
        };
        assert_eq!(ret, 0, "{}", io::Error::last_os_error());
        for fd in [ours, theirs] {
            // SAFETY: a descriptor that was just opened.
            let ret = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
            assert_eq!(ret, 0);
        }
        // SAFETY: openpty succeeded, and nobody else has this descriptor.
        let ours = unsafe { File::from_raw_fd(ours) };
        // SAFETY: as above.
        let theirs = unsafe { OwnedFd::from_raw_fd(theirs) };
        Self { ours, theirs }
    }

    fn settings(&self) -> Settings {
        let mut t = std::mem::MaybeUninit::<libc::termios>::uninit();
        // SAFETY: tcgetattr writes a whole termios when it succeeds.
        let ret = unsafe { libc::tcgetattr(self.theirs.as_raw_fd(), t.as_mut_ptr()) };
        assert_eq!(ret, 0, "{}", io::Error::last_os_error());
        // SAFETY: it succeeded.
        let t = unsafe { t.assume_init() };
        Settings(t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag, t.c_cc)
    }

    fn wait_until_raw(&self) {
        while !self.settings().is_raw() {
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts the VMM with this as its controlling terminal.
    fn start(&self, machine: &Machine) -> Child {
        let stream = || Stdio::from(self.theirs.try_clone().unwrap());
        let mut command = machine.command(&[]);
        command.stdin(stream()).stdout(stream()).stderr(stream());
        let become_leader = || {
            // SAFETY: setsid is async-signal-safe.
            if unsafe { libc::setsid() } < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: standard input is the terminal by now; the ioctl takes a number.
            if unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        };
        // SAFETY: the closure makes two system calls and allocates nothing.
        unsafe { command.pre_exec(become_leader) };
        command.spawn().unwrap()
    }
}

/// As a shell does, before it sends SIGCONT: one that comes earlier is lost.
fn wait_until_stopped(child: &Child) {
    let mut status = 0;
    // SAFETY: waits for a child that was not waited for; the status is one int.
    let pid = unsafe { libc::waitpid(child.id() as i32, &raw mut status, libc::WUNTRACED) };
    assert_eq!(pid, child.id() as i32);
    assert!(libc::WIFSTOPPED(status), "{status:#x}");
}

fn up() -> Guest {
    Guest::new().print("up")
}

#[test]
fn ctrl_a_x_quits_a_guest_that_reads_nothing() {
    if !has_kvm("ctrl_a_x_quits_a_guest_that_reads_nothing") {
        return;
    }
    let mut terminal = Terminal::new();
    let before = terminal.settings();
    assert!(!before.is_raw());
    let machine = Machine::new(&up().spin());
    let mut child = terminal.start(&machine);
    let shown = read_until(&mut terminal.ours, "up");
    assert!(shown.contains("Ctrl-A x quits"), "{shown}");
    assert!(terminal.settings().is_raw());
    terminal.ours.write_all(b"\x01r").unwrap();
    read_until(&mut terminal.ours, "vCPU 0: `jmp");
    // Ctrl-C is the guest's.
    terminal
        .ours
        .write_all(b"\x03\x03 typed in vain \x01x")
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(9));
    assert_eq!(terminal.settings(), before);
    read_until(&mut terminal.ours, "ended by Ctrl-A x");
}

#[test]
fn the_terminal_is_put_back_at_each_end() {
    if !has_kvm("the_terminal_is_put_back_at_each_end") {
        return;
    }
    let wait = || up().echo_until_q();
    for (guest, signal, status) in [
        (wait().power_off().spin(), None, 0),
        (wait().reset().spin(), None, 0),
        (wait().triple_fault(), None, 5),
        (wait().unknown_instruction(), None, 6),
        (wait(), Some(libc::SIGTERM), 143),
        (wait(), Some(libc::SIGINT), 130),
        (wait(), Some(libc::SIGHUP), 129),
        (wait(), Some(libc::SIGQUIT), 131),
    ] {
        let mut terminal = Terminal::new();
        let before = terminal.settings();
        let machine = Machine::new(&guest);
        let mut child = terminal.start(&machine);
        read_until(&mut terminal.ours, "up");
        assert!(terminal.settings().is_raw());
        match signal {
            Some(signal) => send(&child, signal),
            None => terminal.ours.write_all(b"q").unwrap(),
        }
        assert_eq!(child.wait().unwrap().code(), Some(status), "{signal:?}");
        assert_eq!(terminal.settings(), before, "status {status}");
    }
}

#[test]
fn a_stopped_vmm_gives_the_terminal_back_and_takes_it_again() {
    if !has_kvm("a_stopped_vmm_gives_the_terminal_back_and_takes_it_again") {
        return;
    }
    let mut terminal = Terminal::new();
    let before = terminal.settings();
    let machine = Machine::new(&up().echo_until_q().power_off().spin());
    let mut child = terminal.start(&machine);
    read_until(&mut terminal.ours, "up");
    send(&child, libc::SIGTSTP);
    wait_until_stopped(&child);
    assert_eq!(terminal.settings(), before);
    send(&child, libc::SIGCONT);
    terminal.wait_until_raw();
    terminal.ours.write_all(b"q").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(terminal.settings(), before);
}
