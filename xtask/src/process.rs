// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Child processes that end when we do.
//!
//! Each child leads a process group of its own, and every group that runs is listed. A signal that
//! ends us kills the listed groups first; should we be killed, the kernel kills the children
//! (PR_SET_PDEATHSIG). A group is taken off the list while its leader is a zombie and its number
//! thus not free for another.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::Error;
use crate::progress;

/// The groups that run, by their leaders' process ids.
static GROUPS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

fn groups() -> MutexGuard<'static, Vec<u32>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From here on SIGINT, SIGTERM and SIGHUP kill what we started, and end us.
pub fn end_on_signals() -> Result<(), Error> {
    let start = |source| Error::Start {
        program: "the signal thread".to_owned(),
        source,
    };
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(start)?;
    let wait = move || {
        if let Some(signal) = signals.forever().next() {
            // Never unlocked again: nothing is started any more.
            let groups = groups();
            for &leader in groups.iter() {
                kill_group(leader);
                wait_without_reaping(leader);
            }
            let error = Error::Interrupted(signal);
            progress::say(&format!("error: {error}"));
            std::process::exit(error.status().into());
        }
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)
        .map(drop)
        .map_err(start)
}

/// A child that runs.
#[derive(Debug)]
pub struct Running {
    /// The child. Its pipes may be taken.
    pub child: Child,
    command: String,
}

impl Running {
    /// Starts `command` with the `inherited` descriptors open under their numbers.
    pub fn start(command: &mut Command, inherited: &[OwnedFd]) -> Result<Self, Error> {
        let fds: Vec<_> = inherited.iter().map(AsRawFd::as_raw_fd).collect();
        let prepare = move || {
            // SAFETY: prctl and fcntl are async-signal-safe and take no pointers here.
            check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
            for &fd in &fds {
                // SAFETY: as above; the descriptor is open, the parent holds it.
                check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) })?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec `prepare` makes only async-signal-safe calls and
        // allocates nothing.
        unsafe { command.pre_exec(prepare) };
        let mut groups = groups();
        let child = command
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Start {
                program: command.get_program().to_string_lossy().into_owned(),
                source,
            })?;
        groups.push(child.id());
        Ok(Self {
            child,
            command: describe(command),
        })
    }

    /// For whoever finds out that there is no use in going on, while another thread waits.
    pub fn switch(&self) -> Switch {
        Switch(self.child.id())
    }

    /// Waits for the end; kills the group and fails when it takes longer than `limit`.
    pub fn wait(mut self, limit: Option<Duration>) -> Result<ExitStatus, Error> {
        let leader = self.child.id();
        let in_time = thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            scope.spawn(move || {
                wait_without_reaping(leader);
                // Nobody listens any more after the limit.
                let _ = sender.send(());
            });
            match limit {
                None => receiver.recv().is_ok(),
                Some(limit) => {
                    receiver.recv_timeout(limit).is_ok() || {
                        kill_group(leader);
                        false
                    }
                }
            }
        });
        let status = self.reap()?;
        match (in_time, limit) {
            (false, Some(limit)) => {
                let what = std::mem::take(&mut self.command);
                Err(Error::Timeout {
                    what: format!("`{what}`"),
                    limit,
                    last_words: String::new(),
                })
            }
            _ => Ok(status),
        }
    }

    /// Kills what the child left of its group, takes the group off the list, and reaps.
    fn reap(&mut self) -> Result<ExitStatus, Error> {
        let mut groups = groups();
        groups.retain(|&leader| leader != self.child.id());
        kill_group(self.child.id());
        self.child.wait().map_err(|source| Error::Start {
            program: self.command.clone(),
            source,
        })
    }
}

/// Ends a child that runs.
#[derive(Clone, Copy, Debug)]
pub struct Switch(u32);

impl Switch {
    /// Kills the child's group, unless it was reaped.
    pub fn off(self) {
        // As long as it is on the list it is not reaped, so the number is its own.
        let groups = groups();
        if groups.contains(&self.0) {
            kill_group(self.0);
        }
    }
}

impl Drop for Running {
    /// A child whose end nobody waited for is not left running.
    fn drop(&mut self) {
        if groups().contains(&self.child.id()) {
            kill_group(self.child.id());
            wait_without_reaping(self.child.id());
            let _ = self.reap();
        }
    }
}

/// Runs `command` to its end and returns what it printed on standard output.
pub fn capture(command: &mut Command) -> Result<String, Error> {
    // `output` would do, were it not for the group.
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut running = Running::start(command, &[])?;
    let (stdout, stderr) = (running.child.stdout.take(), running.child.stderr.take());
    let read = |pipe: Option<OwnedFd>| {
        let mut bytes = Vec::new();
        // What was read before an error still counts.
        let _ = pipe.map(|pipe| io::Read::read_to_end(&mut std::fs::File::from(pipe), &mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let (stdout, stderr) = thread::scope(|scope| {
        let errors = scope.spawn(|| read(stderr.map(OwnedFd::from)));
        (
            read(stdout.map(OwnedFd::from)),
            errors.join().unwrap_or_default(),
        )
    });
    let status = running.wait(None)?;
    if status.success() {
        return Ok(stdout);
    }
    let last = stderr
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default();
    let details = if last.is_empty() {
        String::new()
    } else {
        format!(": {}", last.trim())
    };
    Err(Error::Failed {
        command: describe(command),
        status,
        details,
    })
}

/// Runs `command` to its end and returns how it ended, and what it printed, standard output and
/// error together. With `show` all of that is shown as it comes, too.
pub fn record(
    command: &mut Command,
    limit: Duration,
    show: bool,
) -> Result<(ExitStatus, String), Error> {
    let failed = |source| Error::Start {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    };
    let (reader, writer) = io::pipe().map_err(&failed)?;
    let second = writer.try_clone().map_err(&failed)?;
    command.stdin(Stdio::null()).stdout(writer).stderr(second);
    let started = Running::start(command, &[]);
    // The command holds the pipe's other end, too, as long as it lives.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let running = started?;
    let (ended, output) = thread::scope(|scope| {
        let output = scope.spawn(move || read_and_show(reader, show));
        (running.wait(Some(limit)), output.join().unwrap_or_default())
    });
    ended.map(|status| (status, output))
}

fn read_and_show(mut pipe: io::PipeReader, show: bool) -> String {
    let (mut output, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = io::Read::read(&mut pipe, &mut buffer) {
        let bytes = buffer.get(..length).unwrap_or_default();
        if show {
            // Recorded all the same, when nobody looks any more.
            let _ = io::Write::write_all(&mut io::stderr(), bytes);
        }
        output.extend_from_slice(bytes);
    }
    String::from_utf8_lossy(&output).into_owned()
}

/// This program, whatever its path names by now: it may be built anew while it runs.
pub const OURSELVES: &str = "/proc/self/exe";

/// The command line, for messages.
pub fn describe(command: &Command) -> String {
    let program = command.get_program();
    // Programs are known by their names, wherever they are.
    let program = match std::path::Path::new(program).file_name() {
        _ if program == OURSELVES => OsStr::new("cargo xtask"),
        name => name.unwrap_or(program),
    };
    let words = [program].into_iter().chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Kills the group that `leader` leads or led.
fn kill_group(leader: u32) {
    if let Ok(leader) = libc::pid_t::try_from(leader) {
        // SAFETY: no memory is touched. The leader is not reaped, so the group is ours.
        unsafe { libc::kill(-leader, libc::SIGKILL) };
    }
}

/// Waits until a child has ended and leaves it a zombie.
fn wait_without_reaping(pid: u32) {
    let options = libc::WEXITED | libc::WNOWAIT;
    loop {
        // SAFETY: all zeros is a value of this plain C type.
        let mut info = unsafe { std::mem::zeroed() };
        // SAFETY: `info` is live; the child is ours and not reaped.
        if unsafe { libc::waitid(libc::P_PID, pid, &mut info, options) } == 0
            || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted
        {
            return;
        }
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_and_failure() {
        assert_eq!(capture(&mut shell("echo a; echo b >&2")).unwrap(), "a\n");
        let mut command = shell("echo first >&2; echo 'no luck' >&2; echo >&2; exit 3");
        let error = capture(command.stderr(Stdio::piped()))
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("failed (exit status: 3): no luck"),
            "{error}"
        );
    }

    #[test]
    fn a_record_has_both_outputs_in_order() {
        let mut command = shell("echo a; echo b >&2; echo c; exit 3");
        let (status, output) = record(&mut command, Duration::from_secs(60), false).unwrap();
        assert_eq!((status.code(), output.as_str()), (Some(3), "a\nb\nc\n"));
    }

    #[test]
    fn command_lines() {
        assert_eq!(
            describe(Command::new("/usr/bin/cargo").arg("fmt")),
            "cargo fmt"
        );
        assert_eq!(
            describe(Command::new(OURSELVES).arg("boot")),
            "cargo xtask boot"
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = capture(&mut Command::new("no-such-program"))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("cannot start no-such-program: "),
            "{error}"
        );
    }

    #[test]
    fn a_limit_ends_the_whole_group() {
        let mut command = shell("sleep 1000 & echo $!; wait");
        let mut running = Running::start(command.stdout(Stdio::piped()), &[]).unwrap();
        let mut line = String::new();
        let mut stdout = io::BufReader::new(running.child.stdout.take().unwrap());
        io::BufRead::read_line(&mut stdout, &mut line).unwrap();
        let error = running.wait(Some(Duration::from_millis(1))).unwrap_err();
        assert_eq!(error.status(), 124);
        // The pipe ends when the last process that holds it has: the one in the background.
        io::Read::read_to_string(&mut stdout, &mut line).unwrap();
    }

    #[test]
    fn one_that_is_dropped_is_ended() {
        let running = Running::start(&mut shell("sleep 1000"), &[]).unwrap();
        let pid = running.child.id();
        drop(running);
        assert!(!groups().contains(&pid));
    }

    #[test]
    fn inherited_descriptors_are_open_in_the_child() {
        let (mut reader, writer) = io::pipe().unwrap();
        let writer = OwnedFd::from(writer);
        let running = Running::start(
            &mut shell(&format!("echo hello >&{}", writer.as_raw_fd())),
            std::slice::from_ref(&writer),
        );
        drop(writer);
        running.unwrap().wait(None).unwrap();
        let mut text = String::new();
        io::Read::read_to_string(&mut reader, &mut text).unwrap();
        assert_eq!(text, "hello\n");
    }
}
