// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The flags: their names, their parameters, their help. What is inside a flag's value is not
//! clap's matter but that of [`parameters`](super::parameters).

use std::ffi::OsString;

use clap::{Arg, ArgAction};

use super::parameters::{Flag, Parameter};
use crate::exit_status;

pub(super) static KERNEL: Flag = Flag {
    name: "--kernel",
    usage: "path=FILE[,cmdline=\"TEXT\"][,kernel_load_addr=ADDRESS]",
    parameters: &[
        Parameter::new("path"),
        Parameter {
            name: "cmdline",
            alias: None,
            free_text: true,
        },
        Parameter {
            name: "kernel_load_addr",
            alias: Some("himem_start"),
            free_text: false,
        },
    ],
};
pub(super) static MEMORY: Flag = Flag {
    name: "--memory",
    usage: "size_mib=NUMBER",
    parameters: &[Parameter::new("size_mib")],
};
pub(super) static VCPU: Flag = Flag {
    name: "--vcpu",
    usage: "num=NUMBER",
    parameters: &[Parameter::new("num")],
};
pub(super) static INITRD: Flag = Flag {
    name: "--initrd",
    usage: "path=FILE",
    parameters: &[Parameter::new("path")],
};
pub(super) static SERIAL: Flag = Flag {
    name: "--serial",
    usage: "stdio|file=FILE",
    parameters: &[Parameter::new("file")],
};
pub(super) static DEBUG_EXIT: Flag = Flag {
    name: "--debug-exit",
    usage: "port=NUMBER",
    parameters: &[Parameter::new("port")],
};
pub(super) static NESTED: Flag = Flag {
    name: "--nested",
    usage: "soft[,catch=auto|exits|stops|steps]",
    parameters: &[Parameter::new("catch")],
};
pub(super) static SUMMARY: Flag = Flag {
    name: "--summary",
    usage: "file=FILE",
    parameters: &[Parameter::new("file")],
};
pub(super) const HOST: &str = "host";
pub(super) const LOG: &str = "--log";
pub(super) const LOG_USAGE: &str = "off|error|warn|info|debug|trace";
/// Flags of the first vmm-reference that need virtio devices.
pub(super) const NOT_YET: [&str; 2] = ["--block", "--net"];

/// The flags as clap knows them.
pub(super) fn definition() -> clap::Command {
    let flag = |name: &'static str, usage: &'static str, help: &'static str| {
        let name = name.trim_start_matches('-');
        Arg::new(name)
            .long(name)
            .value_name(usage)
            .value_parser(clap::value_parser!(OsString))
            .allow_hyphen_values(true)
            .help(help)
    };
    let not_yet = |name| flag(name, "…", "not there yet").hide(true);
    clap::Command::new("vmm-reference")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A reference VMM: boots Linux and multiboot kernels with KVM.")
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
        .args([
            flag(
                KERNEL.name,
                KERNEL.usage,
                "The kernel: an ELF vmlinux, a vmlinuz or a multiboot kernel (required)",
            ),
            flag(
                MEMORY.name,
                MEMORY.usage,
                "The guest's memory in MiB [default: 256]",
            ),
            flag(VCPU.name, VCPU.usage, "The number of vCPUs [default: 1]"),
            flag(INITRD.name, INITRD.usage, "An initial RAM disk"),
            flag(
                SERIAL.name,
                SERIAL.usage,
                "Where the serial console leads [default: stdio]",
            ),
            flag(
                DEBUG_EXIT.name,
                DEBUG_EXIT.usage,
                "Let the guest end the VMM with a status that it writes to this port (port=: 0xf4)",
            ),
            flag(
                NESTED.name,
                NESTED.usage,
                "Give the guest VMX in software, on a KVM that has none for it",
            ),
            flag(
                LOG,
                LOG_USAGE,
                "What the VMM logs on standard error [default: warn]",
            ),
            flag(
                SUMMARY.name,
                SUMMARY.usage,
                "Write a JSON summary of the run to FILE",
            ),
        ])
        .args(NOT_YET.map(not_yet))
        .subcommand(
            clap::Command::new(HOST)
                .about("Tell what this host's KVM can do, and whether Linux can boot on it")
                .arg(
                    Arg::new("json")
                        .long("json")
                        .action(ArgAction::SetTrue)
                        .help("As one line of JSON"),
                ),
        )
        .after_help(format!(
            "Numbers are decimal or 0x and hexadecimal. An empty value means the default.\n\
             A value in double quotes may hold commas. Without quotes, a comma ends cmdline only\n\
             where another parameter of --kernel follows.\n\
             catch: how a guest's VMX instructions are caught; steps is slower and misses nothing\n\
             [default: auto, as is best on this host].\n\
             kernel_load_addr: no part of the kernel may lie below it [default: 1 MiB].\n\n{}",
            exit_status::HELP
        ))
}
