// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest's runs.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use guest_l1::trace::Trace;
use guest_l1::{Mode, elf, image, rom};

use crate::error::Error;
use crate::lab::{self, Job, Machine, Outputs};
use crate::pack;
use crate::process;
use crate::store::{Scratch, Store};
use crate::workspace::Workspace;

/// Where the files lie in the machine.
const VMM: &str = "/l1/vmm-reference";
const KERNEL: &str = "/l1/l1.elf";

/// On the bare machine.
pub fn on_bochs(limit: Duration) -> Result<String, Error> {
    lab::run_rom(&rom(&image(Mode::Scenarios)), limit)
}

/// The VMM, built as the machines need it.
pub fn vmm(workspace: &Workspace) -> Result<PathBuf, Error> {
    let build = ["build", "--profile", "lab", "--package", "vmm-reference"];
    workspace.build_one(&build, "vmm-reference")
}

/// The VMM's arguments behind the kernel's.
const MEMORY: [&str; 2] = ["--memory", "size_mib=16"];
const IN_SOFTWARE: [&str; 2] = ["--nested", "soft"];

/// Under the reference VMM on Linux's nested KVM.
pub fn on_linux(
    workspace: &Workspace,
    store: Store,
    vmm: &Path,
    limit: Duration,
) -> Result<String, Error> {
    in_machine(workspace, store, Machine::Vmx, vmm, &MEMORY, limit)
}

/// Under the reference VMM with VMX in software, on Linux's KVM on an AMD processor.
pub fn in_software_on_svm(
    workspace: &Workspace,
    store: Store,
    vmm: &Path,
    limit: Duration,
) -> Result<String, Error> {
    let arguments = [MEMORY, IN_SOFTWARE].concat();
    in_machine(workspace, store, Machine::Svm, vmm, &arguments, limit)
}

/// Under the reference VMM with VMX in software, on this host's KVM.
pub fn in_software_here(vmm: &Path, limit: Duration) -> Result<String, Error> {
    let scratch = Scratch::new()?;
    let kernel = scratch.path("l1.elf");
    fs::write(&kernel, elf(&image(Mode::Scenarios))).map_err(Error::file("write", &kernel))?;
    let printed = scratch.path("printed");
    let named = |name: &str, path: &Path| {
        let mut argument = OsString::from(name);
        argument.push(path);
        argument
    };
    let mut command = Command::new(vmm);
    command
        .args([OsString::from("--kernel"), named("path=", &kernel)])
        .args([OsString::from("--serial"), named("file=", &printed)])
        .args(MEMORY)
        .args(IN_SOFTWARE);
    let status = process::Running::start(&mut command, &[])?.wait(Some(limit))?;
    if !status.success() {
        return Err(Error::Machine {
            reason: format!("the VMM ended with {status}"),
        });
    }
    let bytes = fs::read(&printed).map_err(Error::file("read", &printed))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn in_machine(
    workspace: &Workspace,
    store: Store,
    machine: Machine,
    vmm: &Path,
    arguments: &[&str],
    limit: Duration,
) -> Result<String, Error> {
    let mut job = Job::new(workspace, &store, machine)?;
    drop(store);
    let scratch = Scratch::new()?;
    let kernel = scratch.path("l1.elf");
    fs::write(&kernel, elf(&image(Mode::Scenarios))).map_err(Error::file("write", &kernel))?;
    pack::add_program(&mut job.tree, Path::new(VMM), vmm)?;
    job.tree.add_file(KERNEL, &kernel)?;
    let kernel = format!("path={KERNEL}");
    job.task.arguments = [VMM, "--kernel", &kernel]
        .iter()
        .chain(arguments)
        .map(OsString::from)
        .collect();
    job.timeout = limit;
    let printed = Printed::default();
    let outputs = Outputs {
        stdout: Box::new(printed.clone()),
        stderr: Box::new(io::stderr()),
    };
    let finished = lab::run(job, outputs)?;
    let text = printed.text();
    match finished.status {
        0 => Ok(text),
        status => Err(Error::Machine {
            reason: format!(
                "the VMM ended with status {status}; the guest's last line: {}",
                text.lines().last().unwrap_or_default()
            ),
        }),
    }
}

/// What a guest printed, kept.
#[derive(Clone, Debug, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The trace in what the guest has printed on `machine`.
pub fn parse(machine: &'static str, text: &str) -> Result<Trace, Error> {
    Trace::parse(text).map_err(|source| Error::Trace { machine, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_kept() {
        let printed = Printed::default();
        printed.clone().write_all(b"scenario a\n").unwrap();
        printed.clone().write_all(b"done\n").unwrap();
        assert_eq!(printed.text(), "scenario a\ndone\n");
        assert_eq!(parse("x", &printed.text()).unwrap().scenarios.len(), 1);
    }

    #[test]
    fn half_a_trace_says_whose_it_is() {
        let error = parse("bochs", "scenario a\n").unwrap_err().to_string();
        assert!(
            error.contains("bochs") && error.contains("\"a\""),
            "{error}"
        );
    }
}
