// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A boot in the emulated machine: the VMM and all files that its flags name are carried there,
//! and what it writes is carried back.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

use vmm_reference::config::{SerialConfig, VmmConfig};

use super::accel::Accel;
use super::console::{self, Console};
use super::{Boot, Outcome, flags};
use crate::error::Error;
use crate::initramfs::Initramfs;
use crate::lab::{self, Job, Machine, Outputs};
use crate::pack;
use crate::pump;
use crate::store::Store;
use crate::workspace::Workspace;

/// Where the files lie in the machine.
const VMM: &str = "/boot/vmm-reference";
const KERNEL: &str = "/boot/kernel";
const INITRD: &str = "/boot/initrd";
const SUMMARY: &str = "/boot/summary.json";
const SERIAL: &str = "/boot/serial";

/// Guest memory that the machine's own default covers, in MiB.
const COVERED_MEMORY_MIB: u64 = 256;

/// Installs what the machine needs.
pub fn prepare_host() -> Result<(), Error> {
    lab::prepare_host(Machine::Svm)
}

/// Boots and waits for the end.
pub fn run(boot: Boot, workspace: &Workspace, store: Store) -> Result<Outcome, Error> {
    let Boot {
        mut config,
        vmm,
        timeout,
        json,
    } = boot;
    let mut job = Job::new(workspace, &store, Machine::Svm)?;
    drop(store);
    pack::add_program(&mut job.tree, Path::new(VMM), &vmm)?;
    let moved = carry_in(&mut config, &mut job.tree)?;
    job.task.collect = [SUMMARY, SERIAL].map(OsString::from).into();
    job.task.arguments = [VMM.into()]
        .into_iter()
        .chain(flags::to_arguments(&config))
        .collect();
    job.timeout = timeout;
    job.extra_memory_mib = u64::from(config.memory.size_mib).saturating_sub(COVERED_MEMORY_MIB);
    let host_cpus = thread::available_parallelism().map_or(1, usize::from);
    job.cpus = u32::from(config.vcpus.num).min(u32::try_from(host_cpus).unwrap_or(1));

    let (console, sighting) = Console::new(pump::guest_console(json));
    let outputs = Outputs {
        stdout: Box::new(console),
        stderr: Box::new(io::stderr()),
    };
    let finished = lab::run(job, outputs)?;
    let file = |path: &str| {
        let named = |(name, _): &&(OsString, Vec<u8>)| name == path;
        finished
            .files
            .iter()
            .find(named)
            .map(|(_, contents)| contents)
    };
    carry_out(&moved, file)?;
    let mut seen = console::seen(&sighting);
    if let (None, Some(serial)) = (&seen, file(SERIAL)) {
        let (mut console, sighting) = Console::new(io::sink());
        console
            .write_all(serial)
            .map_err(Error::file("read", SERIAL))?;
        seen = console::seen(&sighting);
    }
    let since = |at| finished.started.map(|start| at - start).unwrap_or_default();
    Ok(Outcome {
        accel: Accel::LabSvm,
        status: finished.status,
        greeting: seen.map(|(greeting, at)| (greeting, since(at))),
        vmm: file(SUMMARY).and_then(|text| serde_json::from_slice(text).ok()),
    })
}

/// Files that the VMM writes in the machine, and where the user wants them.
type Moved = Vec<(&'static str, PathBuf)>;

/// Adds the files that `config` names to the tree, and makes it name them there.
fn carry_in(config: &mut VmmConfig, tree: &mut Initramfs) -> Result<Moved, Error> {
    tree.add_file(KERNEL, &config.kernel.path)?;
    config.kernel.path = KERNEL.into();
    if let Some(initrd) = &mut config.initrd {
        tree.add_file(INITRD, initrd)?;
        *initrd = INITRD.into();
    }
    let mut moved = Moved::new();
    if let SerialConfig::File(path) = &mut config.serial {
        moved.push((SERIAL, std::mem::replace(path, SERIAL.into())));
    }
    if let Some(path) = config.summary.replace(SUMMARY.into()) {
        moved.push((SUMMARY, path));
    }
    Ok(moved)
}

/// Writes what came back to where the user wants it.
fn carry_out<'f>(
    moved: &Moved,
    file: impl Fn(&'static str) -> Option<&'f Vec<u8>>,
) -> Result<(), Error> {
    for (name, path) in moved {
        if let Some(contents) = file(name) {
            fs::write(path, contents).map_err(Error::file("write", path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_carried_in() {
        let mut config = VmmConfig::new("/etc/passwd");
        config.serial = SerialConfig::File("/tmp/console".into());
        let mut tree = Initramfs::new();
        let moved = carry_in(&mut config, &mut tree).unwrap();
        assert!(tree.contains(KERNEL) && !tree.contains(INITRD));
        assert_eq!(config.kernel.path, Path::new(KERNEL));
        assert_eq!(config.serial, SerialConfig::File(SERIAL.into()));
        assert_eq!(config.summary.as_deref(), Some(Path::new(SUMMARY)));
        assert_eq!(moved, [(SERIAL, PathBuf::from("/tmp/console"))]);
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let mut config = VmmConfig::new("/no/such/kernel");
        let error = carry_in(&mut config, &mut Initramfs::new())
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("cannot read /no/such/kernel: "),
            "{error}"
        );
    }
}
