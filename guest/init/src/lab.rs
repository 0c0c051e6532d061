// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The life in the emulated machine of `cargo xtask lab`: do the task that the initramfs holds.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use guest_init::channel::Channel;
use guest_init::report::Message;
use guest_init::task::{self, Task};

use crate::ports::{self, Port};
use crate::{supervise, syscalls};

/// The I/O port that ends QEMU with the byte that is written.
const QEMU_EXIT: u16 = 0xf4;

/// The I/O port that ends bochs when this word is written.
const BOCHS_EXIT: (u16, &[u8]) = (0x8900, b"Shutdown");

/// How long the console may take for its last line.
const CONSOLE: Duration = Duration::from_millis(500);

/// Does the task and returns the status that ends the machine.
pub fn run() -> u8 {
    let reported = read_task().and_then(|task| {
        load_modules(&task)?;
        let mut report = ports::open(task.machine, Channel::Report)?;
        let status = run_command(&task, &mut report).inspect_err(|reason| {
            // The console has it too, in case that the port is what failed.
            let _ = Message::Failed(reason.clone()).write_to(&mut report);
        })?;
        Message::Status(status)
            .write_to(&mut report)
            .map_err(|error| format!("cannot report the status: {error}"))?;
        Ok(status)
    });
    reported.unwrap_or_else(|reason| {
        println!("init: {reason}");
        1
    })
}

/// Ends the machine. Which it is does not matter, and is not known where the task could not be read:
/// to the other machine the write means nothing. Returns when it is neither.
pub fn end(status: u8) {
    // Without permission no port can be written to, and powering off is what remains.
    let _ = syscalls::write_port(QEMU_EXIT, &[status]);
    thread::sleep(CONSOLE);
    let (port, word) = BOCHS_EXIT;
    let _ = syscalls::write_port(port, word);
}

fn read_task() -> Result<Task, String> {
    let bytes = fs::read(task::PATH).map_err(|error| format!("{}: {error}", task::PATH))?;
    Task::from_bytes(&bytes).map_err(|error| error.to_string())
}

/// Loads the modules, each with the parameters that follow its path after a blank.
fn load_modules(task: &Task) -> Result<(), String> {
    for module in &task.modules {
        let mut fields = module.as_bytes().splitn(2, |&b| b == b' ');
        let path = Path::new(OsStr::from_bytes(fields.next().unwrap_or_default()));
        let parameters = fields.next().unwrap_or_default();
        File::open(path)
            .and_then(|file| syscalls::load_module(&file, parameters))
            .map_err(|error| format!("cannot load the module {}: {error}", path.display()))?;
    }
    Ok(())
}

/// Runs the command with its output on the ports, and sends what is to be collected.
fn run_command(task: &Task, report: &mut Port) -> Result<u8, String> {
    let mut stdout = ports::open(task.machine, Channel::Stdout)?;
    let mut stderr = ports::open(task.machine, Channel::Stderr)?;
    let failed = |error| format!("cannot report: {error}");
    let (program, arguments) = task
        .arguments
        .split_first()
        .ok_or("the task has no command".to_owned())?;

    Message::Started.write_to(&mut *report).map_err(failed)?;
    let command = supervise::find(program, path_variable(task)).map(|path| {
        let mut command = Command::new(path);
        command.arg0(program).args(arguments).env_clear();
        command.envs(
            task.environment
                .iter()
                .filter_map(|variable| split_variable(variable)),
        );
        command.current_dir(task.directory.as_deref().unwrap_or(OsStr::new("/")));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    });
    let mut child = match supervise::start(program, command) {
        Ok(child) => child,
        Err(failure) => {
            writeln!(stderr, "init: {failure}").map_err(failed)?;
            return Ok(failure.status());
        }
    };

    // Pipes, not the ports themselves: a port can be opened only once, so a command could not
    // open its /dev/stdout again.
    let (from_stdout, from_stderr) = (child.stdout.take(), child.stderr.take());
    let status = thread::scope(|scope| {
        let pump = |from: File, to| scope.spawn(move || copy(from, to));
        let pumps = [
            from_stdout.map(|from| pump(OwnedFd::from(from).into(), &mut stdout)),
            from_stderr.map(|from| pump(OwnedFd::from(from).into(), &mut stderr)),
        ];
        let status = supervise::wait(&child);
        // What the command left behind would keep the pipes open.
        supervise::end_the_rest();
        for pump in pumps.into_iter().flatten() {
            pump.join()
                .unwrap_or(Ok(()))
                .map_err(|error| format!("output was lost: {error}"))?;
        }
        Ok::<_, String>(status)
    })?;

    for path in &task.collect {
        // What the command did not write is not there to be collected.
        if let Ok(contents) = fs::read(path) {
            Message::File {
                path: path.clone(),
                contents,
            }
            .write_to(&mut *report)
            .map_err(failed)?;
        }
    }
    Ok(status)
}

/// Copies until the last process that can write has ended. (`io::copy` would splice the pipe into
/// the port; seen with Linux 6.1: nothing arrives then.)
fn copy(mut from: File, to: &mut Port) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => to.write_all(buffer.get(..length).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The search path of the command's environment.
fn path_variable(task: &Task) -> &OsStr {
    let variables = task
        .environment
        .iter()
        .filter_map(|variable| split_variable(variable));
    variables
        .filter(|(name, _)| *name == "PATH")
        .map(|(_, value)| value)
        .next_back()
        .unwrap_or_default()
}

/// Splits `NAME=VALUE`.
fn split_variable(variable: &OsStr) -> Option<(&OsStr, &OsStr)> {
    let bytes = variable.as_bytes();
    let at = bytes.iter().position(|&b| b == b'=')?;
    Some((
        OsStr::from_bytes(bytes.get(..at)?),
        OsStr::from_bytes(bytes.get(at + 1..)?),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_variables() {
        let task = Task {
            environment: vec!["A=1=2".into(), "PATH=/x".into()],
            ..Task::default()
        };
        assert_eq!(path_variable(&task), "/x");
        assert_eq!(
            split_variable("A=1=2".as_ref()),
            Some(("A".as_ref(), "1=2".as_ref()))
        );
        assert_eq!(split_variable("A".as_ref()), None);
        assert_eq!(path_variable(&Task::default()), "");
    }
}
