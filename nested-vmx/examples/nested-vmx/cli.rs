// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command, value_parser};

/// What kind of file the input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Found out from its bytes.
    Auto,
    /// A vmcs12 in KVM's layout.
    Vmcs12,
    /// A `struct kvm_nested_state`.
    NestedState,
    /// Lines `FIELD=VALUE`.
    Text,
}

/// What the user asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub input: PathBuf,
    pub kind: Kind,
    pub capabilities: Option<PathBuf>,
    pub cr0: Option<u64>,
    pub cr4: Option<u64>,
    pub efer: Option<u64>,
    pub json: bool,
}

fn hexadecimal(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16)
        .map_err(|_| "a hexadecimal number of at most 64 bits is meant".to_owned())
}

fn command() -> Command {
    let register = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("HEX")
            .value_parser(hexadecimal)
            .help(help)
    };
    Command::new("nested-vmx")
        .about("Explains a vmcs12 or a nested state of KVM's, and whether a VM entry accepts it")
        .after_help("Status: 0 if KVM takes it and a VM entry succeeds, 1 if not, 2 for bad input.")
        .arg(
            Arg::new("FILE")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("A vmcs12, a nested state, or lines FIELD=VALUE"),
        )
        .arg(
            Arg::new("input")
                .long("input")
                .value_name("KIND")
                .default_value("auto")
                .value_parser(PossibleValuesParser::new([
                    "auto",
                    "vmcs12",
                    "nested-state",
                    "text",
                ]))
                .help("What kind of file it is"),
        )
        .arg(
            Arg::new("capabilities")
                .long("capabilities")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Lines MSR=VALUE of the virtual processor [default: all that this crate offers]"),
        )
        .arg(register("cr0", "L1's CR0 [default: 80000031]"))
        .arg(register("cr4", "L1's CR4 [default: 2020]"))
        .arg(register("efer", "L1's IA32_EFER [default: 500]"))
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Prints JSON"),
        )
}

/// Reads the command line.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Options, clap::Error> {
    let mut matches = command().try_get_matches_from(arguments)?;
    let kind = match matches.get_one::<String>("input").map(String::as_str) {
        Some("vmcs12") => Kind::Vmcs12,
        Some("nested-state") => Kind::NestedState,
        Some("text") => Kind::Text,
        _ => Kind::Auto,
    };
    Ok(Options {
        // Required, so it is there.
        input: matches.remove_one("FILE").unwrap_or_default(),
        kind,
        capabilities: matches.remove_one("capabilities"),
        cr0: matches.remove_one("cr0"),
        cr4: matches.remove_one("cr4"),
        efer: matches.remove_one("efer"),
        json: matches.get_flag("json"),
    })
}
