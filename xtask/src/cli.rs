// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The command line: what each command takes, and who does it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command, value_parser};

use crate::error::Error;
use crate::{lab, process};

/// Reads the command line, does what it says and returns the status to end with.
pub fn run() -> Result<u8, Error> {
    // Ends the process itself on a mistake (status 2) and for --help.
    let matches = command().get_matches();
    process::end_on_signals()?;
    match matches.subcommand() {
        Some(("lab", matches)) => match matches.subcommand() {
            Some(("svm", matches)) => lab::command(lab_options(matches)),
            _ => Ok(2),
        },
        _ => Ok(2),
    }
}

fn command() -> Command {
    Command::new("cargo xtask")
        .bin_name("cargo xtask")
        .about("The workspace's own commands")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(lab_command())
}

fn lab_command() -> Command {
    let svm = Command::new("svm")
        .about("Runs a command on Linux's KVM in an emulated AMD machine, and returns its status")
        .arg(
            Arg::new("dir")
                .long("dir")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("The command runs in a copy of this directory"),
        )
        .arg(
            Arg::new("cpus")
                .long("cpus")
                .value_name("N")
                .default_value("1")
                .value_parser(value_parser!(u32).range(1..=64))
                .help("The machine's CPUs"),
        )
        .arg(
            Arg::new("memory")
                .long("memory")
                .value_name("MIB")
                .value_parser(value_parser!(u64).range(128..=65536))
                .help("The machine's memory [default: 1024, or what the files need]"),
        )
        .arg(
            Arg::new("timeout")
                .long("timeout")
                .value_name("S")
                .default_value("600")
                .value_parser(value_parser!(u64).range(1..))
                .help("Seconds after which the machine is ended, with status 124"),
        )
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .required(true)
                .num_args(1..)
                .last(true)
                .value_parser(value_parser!(OsString))
                .help("A program of DIR, of this host or of busybox, and its arguments"),
        );
    Command::new("lab")
        .about("Runs commands in an emulated machine that has hardware virtualization")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(svm)
}

fn lab_options(matches: &ArgMatches) -> lab::Options {
    lab::Options {
        directory: matches.get_one::<PathBuf>("dir").cloned(),
        cpus: matches.get_one("cpus").copied().unwrap_or(1),
        memory_mib: matches.get_one("memory").copied(),
        timeout: Duration::from_secs(matches.get_one("timeout").copied().unwrap_or(600)),
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
}
