// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The command line: what each command takes, and who does it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::error::Error;
use crate::{bench, boot, coverage, fuzz, lab, process, test, traces};

/// Reads the command line, does what it says and returns the status to end with.
pub fn run() -> Result<u8, Error> {
    // Ends the process itself on a mistake (status 2) and for --help.
    let matches = command().get_matches();
    process::end_on_signals()?;
    match matches.subcommand() {
        Some(("boot", matches)) => boot::command(boot_options(matches)),
        Some(("lab", matches)) => match matches.subcommand() {
            Some(("svm", matches)) => lab::command(lab_options(lab::Machine::Svm, matches)),
            Some(("vmx", matches)) => lab::command(lab_options(lab::Machine::Vmx, matches)),
            _ => Ok(2),
        },
        Some(("test", matches)) => test::command(test::Options {
            only: matches.get_one("stage").cloned(),
            full: matches.get_flag("full"),
            verbose: matches.get_flag("verbose"),
        }),
        Some(("fuzz", matches)) => fuzz::command(fuzz::Options {
            target: matches.get_one("target").cloned(),
            seconds: matches.get_one("seconds").copied().unwrap_or(60),
        }),
        Some(("coverage", _)) => coverage::command(),
        Some(("bench", matches)) => bench::command(bench_options(matches)),
        Some(("traces", matches)) => traces::command(traces::Options {
            save: matches.get_one::<PathBuf>("save").cloned(),
            timeout: timeout_of(matches),
        }),
        _ => Ok(2),
    }
}

fn command() -> Command {
    Command::new("cargo xtask")
        .bin_name("cargo xtask")
        .about("The workspace's own commands")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(boot_command())
        .subcommand(lab_command())
        .subcommand(test_command())
        .subcommand(fuzz_command())
        .subcommand(bench_command())
        .subcommand(traces_command())
        .subcommand(
            Command::new("coverage")
                .about("Measures how many lines of each crate its tests execute"),
        )
}

fn test_command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(help)
    };
    Command::new("test")
        .about("Runs every check and test, and shows a table of them")
        .arg(
            Arg::new("stage").value_name("STAGE").help(
                "Only the stages in whose names this stands, such as 'lab vmx' [default: all]",
            ),
        )
        .arg(flag(
            "full",
            "Also the benchmarks, cargo-deny, coverage, and each fuzz target for 15 s",
        ))
        .arg(flag("verbose", "Show what each stage prints").short('v'))
}

fn fuzz_command() -> Command {
    Command::new("fuzz")
        .about("Runs the fuzz targets, on nightly Rust")
        .arg(
            Arg::new("target")
                .value_name("TARGET")
                .help("One target [default: all]"),
        )
        .arg(
            Arg::new("seconds")
                .long("seconds")
                .value_name("N")
                .default_value("60")
                .value_parser(value_parser!(u64).range(1..=1_000_000))
                .help("How long each target runs"),
        )
}

fn bench_command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(help)
    };
    Command::new("bench")
        .about("Runs the benchmarks; docs/benchmarks.md says what they measure")
        .arg(
            Arg::new("name")
                .value_name("NAME")
                .value_parser(bench::names())
                .help("One benchmark [default: all]"),
        )
        .arg(
            Arg::new("host")
                .long("host")
                .value_name("WHERE")
                .default_value("all")
                .value_parser(["kvm", "lab-svm", "all"])
                .help("This host's KVM, that of the emulated machine, or both"),
        )
        .arg(flag(
            "json",
            "A line of JSON for each row on standard output, all else on standard error",
        ))
        .arg(flag(
            "quick",
            "Only see whether the programs run: the figures mean nothing",
        ))
}

fn traces_command() -> Command {
    Command::new("traces")
        .about(
            "Runs guest/l1 on bochs as a bare machine, on Linux's nested KVM, and with VMX in software, and \
             compares the traces",
        )
        .arg(
            Arg::new("save")
                .long("save")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("Where the traces are written [default: a directory under target/]"),
        )
        .arg(timeout("600"))
}

fn bench_options(matches: &ArgMatches) -> bench::Options {
    let host = matches.get_one::<String>("host");
    bench::Options {
        name: matches.get_one::<String>("name").cloned(),
        hosts: bench::Host::chosen(host.map_or("all", String::as_str)),
        json: matches.get_flag("json"),
        quick: matches.get_flag("quick"),
    }
}

fn boot_command() -> Command {
    Command::new("boot")
        .about("Boots Debian's stock kernel to a user-space init under the reference VMM")
        .arg(
            Arg::new("accel")
                .long("accel")
                .value_name("WHERE")
                .default_value("auto")
                .value_parser(["auto", "kvm", "lab-svm"])
                .help("This host's KVM, the emulated machine, or what the host is good for"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("One line of JSON on standard output, all else on standard error"),
        )
        .arg(timeout("300"))
        .arg(
            Arg::new("flags")
                .value_name("VMM FLAGS")
                .num_args(0..)
                .last(true)
                .value_parser(value_parser!(OsString))
                .help("Flags of the VMM; they replace the defaults"),
        )
}

fn timeout(default: &'static str) -> Arg {
    Arg::new("timeout")
        .long("timeout")
        .value_name("S")
        .default_value(default)
        .value_parser(value_parser!(u64).range(1..=1_000_000))
        .help("Seconds after which everything is ended, with status 124")
}

fn boot_options(matches: &ArgMatches) -> boot::Options {
    boot::Options {
        accel: match matches.get_one::<String>("accel").map(String::as_str) {
            Some("kvm") => boot::Choice::Kvm,
            Some("lab-svm") => boot::Choice::LabSvm,
            _ => boot::Choice::Auto,
        },
        json: matches.get_flag("json"),
        timeout: timeout_of(matches),
        flags: matches
            .get_many("flags")
            .unwrap_or_default()
            .cloned()
            .collect(),
    }
}

fn timeout_of(matches: &ArgMatches) -> Duration {
    Duration::from_secs(matches.get_one("timeout").copied().unwrap_or(600))
}

fn lab_command() -> Command {
    let number =
        |name: &'static str, value: &'static str| Arg::new(name).long(name).value_name(value);
    let cpus = number("cpus", "N").default_value("1");
    let memory = |most| number("memory", "MIB").value_parser(value_parser!(u64).range(128..=most));
    let svm = lab_machine(
        "svm",
        "Runs a command on Linux's KVM in an emulated AMD machine, and returns its status",
        cpus.clone()
            .value_parser(value_parser!(u32).range(1..=64))
            .help("The machine's CPUs"),
        memory(65536).help("The machine's memory [default: 1024, or what the files need]"),
    )
    .arg(
        Arg::new("timers")
            .long("timers")
            .value_name("HOW")
            .default_value("periodic")
            .value_parser(["periodic", "highres"])
            .help("The machine's timers: at its clock's ticks, or when due (with one CPU)"),
    );
    // Its timers fire when they are due, and that cannot be chosen. Bochs has no more memory.
    let vmx = lab_machine(
        "vmx",
        "The same in an emulated Intel machine, on a KVM that offers nested VMX",
        cpus.value_parser(one_cpu)
            .help("The machine's CPUs: there is one"),
        memory(2048).help("The machine's memory [default: 512, or what the files need]"),
    );
    Command::new("lab")
        .about("Runs commands in an emulated machine that has hardware virtualization")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(svm)
        .subcommand(vmx)
}

/// What the machines have in common.
fn lab_machine(name: &'static str, about: &'static str, cpus: Arg, memory: Arg) -> Command {
    Command::new(name)
        .about(about)
        .arg(
            Arg::new("dir")
                .long("dir")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("The command runs in a copy of this directory"),
        )
        .arg(cpus)
        .arg(memory)
        .arg(
            Arg::new("env")
                .long("env")
                .value_name("NAME=VALUE")
                .action(ArgAction::Append)
                .value_parser(value_parser!(OsString))
                .help("A variable for the command's environment; may be repeated"),
        )
        .arg(timeout("600"))
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .required(true)
                .num_args(1..)
                .last(true)
                .value_parser(value_parser!(OsString))
                .help("A program of DIR, of this host or of busybox, and its arguments"),
        )
}

fn one_cpu(value: &str) -> Result<u32, &'static str> {
    match value.parse() {
        Ok(1) => Ok(1),
        _ => Err("this machine has one CPU; `lab svm` can have more"),
    }
}

fn lab_options(machine: lab::Machine, matches: &ArgMatches) -> lab::Options {
    let timers = match machine {
        lab::Machine::Svm => matches.get_one::<String>("timers").map(String::as_str),
        lab::Machine::Vmx => None,
    };
    lab::Options {
        machine,
        directory: matches.get_one::<PathBuf>("dir").cloned(),
        cpus: matches.get_one("cpus").copied().unwrap_or(1),
        timers: match timers {
            Some("highres") => lab::Timers::Highres,
            _ => lab::Timers::Periodic,
        },
        environment: matches
            .get_many("env")
            .unwrap_or_default()
            .cloned()
            .collect(),
        memory_mib: matches.get_one("memory").copied(),
        timeout: timeout_of(matches),
        command: matches
            .get_many("command")
            .unwrap_or_default()
            .cloned()
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    fn bench(arguments: &[&str]) -> Result<bench::Options, clap::Error> {
        let words = ["cargo xtask", "bench"].iter().chain(arguments);
        let matches = command().try_get_matches_from(words)?;
        Ok(bench_options(matches.subcommand_matches("bench").unwrap()))
    }

    #[test]
    fn a_benchmark_is_asked_for_by_name() {
        let options = bench(&["kick", "--json", "--quick", "--host", "lab-svm"]).unwrap();
        assert_eq!(options.name.as_deref(), Some("kick"));
        assert_eq!(options.hosts, [bench::Host::LabSvm]);
        assert!(options.json && options.quick);
        let all = bench(&[]).unwrap();
        assert_eq!(all.name, None);
        assert_eq!(all.hosts.len(), 2);
        assert!(!all.json && !all.quick);
    }

    #[test]
    fn a_benchmark_that_there_is_not_is_answered_with_those_that_there_are() {
        let error = bench(&["no-such-benchmark"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let message = error.to_string();
        assert!(
            bench::names().iter().all(|name| message.contains(name)),
            "{message}"
        );
    }

    fn lab(arguments: &[&str]) -> Result<ArgMatches, clap::Error> {
        let words = ["cargo xtask", "lab"].iter().chain(arguments);
        let matches = command().try_get_matches_from(words)?;
        Ok(matches.subcommand_matches("lab").unwrap().clone())
    }

    #[test]
    fn both_machines_take_the_same_options() {
        for (name, machine) in [("svm", lab::Machine::Svm), ("vmx", lab::Machine::Vmx)] {
            let words = [
                name,
                "--cpus",
                "1",
                "--env",
                "A=1",
                "--timeout",
                "5",
                "--",
                "ls",
            ];
            let matches = lab(&words).unwrap();
            let options = lab_options(machine, matches.subcommand_matches(name).unwrap());
            assert_eq!((options.machine, options.cpus), (machine, 1));
            assert_eq!(options.timeout, Duration::from_secs(5));
            assert_eq!(
                (options.command, options.memory_mib),
                (vec!["ls".into()], None)
            );
        }
    }

    #[test]
    fn the_intel_machine_has_one_cpu_and_its_own_timers() {
        let error = lab(&["vmx", "--cpus", "2", "--", "ls"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("one CPU"), "{error}");
        let error = lab(&["vmx", "--timers", "highres", "--", "ls"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--timers"), "{error}");
        assert!(lab(&["vmx", "--memory", "2049", "--", "ls"]).is_err());
        assert!(lab(&["svm", "--memory", "2049", "--", "ls"]).is_ok());
        assert!(lab(&["svm", "--cpus", "2", "--timers", "highres", "--", "ls"]).is_ok());
    }
}
