// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `cargo xtask bench`: builds the benchmarks and runs them, on this host's KVM and in the emulated
//! machine.

mod criterion;
mod host;
mod table;

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

pub use host::Host;
pub use table::names;

use crate::error::Error;
use crate::process::{self, Running};
use crate::workspace::Workspace;
use crate::{debian, lab, progress};
use table::{Benchmark, Frame, Needs};

/// How long one benchmark may take on one host. Only what hangs takes so long.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// One benchmark, or all.
    pub name: Option<String>,
    /// On which hosts.
    pub hosts: &'static [Host],
    /// A line of JSON for each row, and nothing else on standard output.
    pub json: bool,
    /// Only whether the programs run: the figures mean nothing.
    pub quick: bool,
}

/// Runs them one after the other until one fails.
pub fn command(options: Options) -> Result<u8, Error> {
    let workspace = Workspace::find()?;
    let chosen = |benchmark: &&Benchmark| {
        let name = options.name.as_deref();
        name.is_none_or(|name| name == benchmark.name)
    };
    for benchmark in table::ALL.iter().filter(chosen) {
        debian::ensure(benchmark.programs)?;
        let program = build(&workspace, benchmark)?;
        for host in hosts(benchmark, &options) {
            progress::say(&format!("{} on {}", benchmark.name, host.name()));
            let status = match (benchmark.frame, host) {
                (Frame::Criterion, _) => run_criterion(&workspace, benchmark, &program, &options)?,
                (Frame::Own, Host::Kvm) => run_here(&program, *host, &options)?,
                (Frame::Own, Host::LabSvm) => run_in_lab(&program, *host, &options)?,
            };
            if status != 0 {
                let name = benchmark.name;
                progress::say(&format!("error: the benchmark {name} ended with {status}"));
                return Ok(status);
            }
        }
    }
    Ok(0)
}

/// The hosts that `benchmark` is to run on and can. Those that it cannot run on are named.
fn hosts<'h>(benchmark: &Benchmark, options: &'h Options) -> impl Iterator<Item = &'h Host> {
    let Benchmark { name, needs, .. } = *benchmark;
    // Where it runs makes no difference to it, so it runs where that is easiest.
    let hosts: &[Host] = match needs {
        Needs::Kvm => options.hosts,
        Needs::Nothing => &[Host::Kvm],
    };
    hosts.iter().filter(move |host| {
        let obstacle = host.obstacle().filter(|_| needs == Needs::Kvm);
        if let Some(obstacle) = &obstacle {
            let host = host.name();
            progress::say(&format!("SKIPPED: benchmark {name} on {host}: {obstacle}"));
        }
        obstacle.is_none()
    })
}

/// Builds with cargo's bench profile.
fn build(workspace: &Workspace, benchmark: &Benchmark) -> Result<std::path::PathBuf, Error> {
    let Benchmark {
        package, target, ..
    } = benchmark;
    let arguments = ["bench", "--no-run", "--package", package, "--bench", target];
    workspace.build_one(&arguments, target)
}

/// The options of our own benchmarks.
fn arguments(host: Host, options: &Options) -> Vec<OsString> {
    let mut arguments = vec!["--bench", "--host", host.name()];
    if options.json {
        arguments.push("--json");
    }
    if options.quick {
        arguments.push("--quick");
    }
    arguments.into_iter().map(OsString::from).collect()
}

fn run_here(program: &Path, host: Host, options: &Options) -> Result<u8, Error> {
    let mut command = Command::new(program);
    command.args(arguments(host, options)).stdin(Stdio::null());
    wait(&mut command)
}

fn wait(command: &mut Command) -> Result<u8, Error> {
    let status = Running::start(command, &[])?.wait(Some(LIMIT))?;
    // One that a signal has ended has failed, too.
    let failed = status.code().unwrap_or(1);
    Ok(u8::try_from(failed).unwrap_or(1))
}

fn run_in_lab(program: &Path, host: Host, options: &Options) -> Result<u8, Error> {
    let command = [OsString::from(program)].into_iter();
    lab::command(lab::Options {
        machine: lab::Machine::Svm,
        directory: None,
        // Two were seen to stand still while virtual machines come and go.
        cpus: 1,
        // Timers are measured, among others.
        timers: lab::Timers::Highres,
        memory_mib: None,
        environment: Vec::new(),
        timeout: LIMIT,
        command: command.chain(arguments(host, options)).collect(),
    })
}

/// Criterion prints no JSON, but leaves its estimates in files.
fn run_criterion(
    workspace: &Workspace,
    benchmark: &Benchmark,
    program: &Path,
    options: &Options,
) -> Result<u8, Error> {
    let home = workspace.target.join("xtask-bench").join(benchmark.name);
    // What an earlier run has left is not to be taken for this one's.
    let _ = fs::remove_dir_all(&home);
    fs::create_dir_all(&home).map_err(Error::file("create", &home))?;
    let mut command = Command::new(program);
    command.env("CRITERION_HOME", &home).arg("--bench");
    if options.quick {
        command.arg("--test");
    }
    if !options.json {
        command.stdin(Stdio::null());
        return wait(&mut command);
    }
    let (status, said) = process::record(&mut command, LIMIT, false)?;
    if !status.success() {
        progress::say(&said);
        return Ok(1);
    }
    for line in criterion::lines(&home, benchmark.name, Host::Kvm.name())? {
        progress::print(&line)?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(hosts: &'static [Host]) -> Options {
        Options {
            name: None,
            hosts,
            json: true,
            quick: true,
        }
    }

    #[test]
    fn options_reach_the_benchmark() {
        let words = arguments(Host::LabSvm, &options(&[]));
        assert_eq!(words, ["--bench", "--host", "lab-svm", "--json", "--quick"]);
    }

    #[test]
    fn what_needs_no_kvm_runs_once() {
        let entry = table::ALL.iter().find(|row| row.name == "entry").unwrap();
        let options = options(&[Host::LabSvm]);
        assert!(hosts(entry, &options).eq(&[Host::Kvm]));
        let kick = table::ALL.iter().find(|row| row.name == "kick").unwrap();
        assert!(hosts(kick, &options).eq(&[Host::LabSvm]));
    }
}
