// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The command line, in the form of rust-vmm's first vmm-reference:
//!
//! ```text
//! vmm-reference --kernel path=vmlinuz,cmdline="console=ttyS0 quiet" --memory size_mib=512 \
//!     --vcpu num=2 --initrd path=initrd.img --serial stdio --log info --summary file=run.json
//! vmm-reference host [--json]
//! ```
//!
//! [`parse`] is a pure function: it looks at no file. What can be checked without one is checked
//! here, so that a mistake costs nothing.

mod error;
mod parameters;

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches};
use log::LevelFilter;

pub use self::error::CliError;
use self::parameters::{Flag, Parameter, shown};
use crate::config::{
    DEFAULT_CMDLINE, DEFAULT_MEMORY_MIB, KernelConfig, MAX_CMDLINE_LEN, MAX_VCPUS, MemoryConfig,
    SerialConfig, VcpuConfig, VmmConfig,
};
use crate::exit_status;

/// What the user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Boot a kernel.
    Run(VmmConfig),
    /// Tell what this host's KVM can do.
    Host {
        /// As one line of JSON.
        json: bool,
    },
    /// Print this text (help was asked for) and end with status 0.
    Help(String),
    /// Print this text (the version was asked for) and end with status 0.
    Version(String),
}

static KERNEL: Flag = Flag {
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
static MEMORY: Flag = Flag {
    name: "--memory",
    usage: "size_mib=NUMBER",
    parameters: &[Parameter::new("size_mib")],
};
static VCPU: Flag = Flag {
    name: "--vcpu",
    usage: "num=NUMBER",
    parameters: &[Parameter::new("num")],
};
static INITRD: Flag = Flag {
    name: "--initrd",
    usage: "path=FILE",
    parameters: &[Parameter::new("path")],
};
static SERIAL: Flag = Flag {
    name: "--serial",
    usage: "stdio|file=FILE",
    parameters: &[Parameter::new("file")],
};
static SUMMARY: Flag = Flag {
    name: "--summary",
    usage: "file=FILE",
    parameters: &[Parameter::new("file")],
};
const HOST: &str = "host";
const LOG: &str = "--log";
const LOG_USAGE: &str = "off|error|warn|info|debug|trace";
/// Flags of the first vmm-reference that need virtio devices.
const NOT_YET: [&str; 2] = ["--block", "--net"];

/// Understands a command line. `args` begins with the program's name, as
/// [`std::env::args_os`] gives it.
///
/// ```
/// use vmm_reference::cli::{Command, parse};
///
/// let args = ["vmm-reference", "--kernel", "path=vmlinuz", "--vcpu", "num=2"];
/// let Command::Run(config) = parse(args.map(Into::into))? else { unreachable!() };
/// assert_eq!(config.vcpus.num, 2);
/// # Ok::<(), vmm_reference::cli::CliError>(())
/// ```
///
/// # Errors
/// [`CliError`], whose message is one line.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, CliError> {
    let matches = match definition().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => return from_clap(&error),
    };
    if let Some((HOST, host)) = matches.subcommand() {
        return Ok(Command::Host {
            json: host.get_flag("json"),
        });
    }
    run(&matches).map(Command::Run)
}

fn run(matches: &ArgMatches) -> Result<VmmConfig, CliError> {
    if let Some(flag) = NOT_YET
        .into_iter()
        .find(|flag| given(matches, flag).is_some())
    {
        return Err(CliError::NotYet { flag });
    }
    let kernel = given(matches, KERNEL.name).ok_or(CliError::MissingKernel)?;
    let mut config = VmmConfig::new("");
    config.kernel = kernel_config(kernel)?;
    if let Some(text) = given(matches, MEMORY.name) {
        let size = MEMORY.split(text)?.number("size_mib", 1, u32::MAX.into())?;
        config.memory = MemoryConfig {
            size_mib: narrow(size).unwrap_or(DEFAULT_MEMORY_MIB),
        };
    }
    if let Some(text) = given(matches, VCPU.name) {
        let num = VCPU.split(text)?.number("num", 1, MAX_VCPUS.into())?;
        config.vcpus = VcpuConfig {
            num: narrow(num).unwrap_or(VcpuConfig::default().num),
        };
    }
    if let Some(text) = given(matches, INITRD.name) {
        config.initrd = Some(INITRD.split(text)?.path("path")?);
    }
    if let Some(text) = given(matches, SERIAL.name) {
        config.serial = if text.eq_ignore_ascii_case("stdio") {
            SerialConfig::Stdio
        } else {
            SerialConfig::File(SERIAL.split(text)?.path("file")?)
        };
    }
    if let Some(text) = given(matches, LOG) {
        config.log = log_level(text)?;
    }
    if let Some(text) = given(matches, SUMMARY.name) {
        config.summary = Some(SUMMARY.split(text)?.path("file")?);
    }
    Ok(config)
}

fn kernel_config(text: &OsStr) -> Result<KernelConfig, CliError> {
    let mut values = KERNEL.split(text)?;
    Ok(KernelConfig {
        path: values.path("path")?,
        cmdline: match values.text("cmdline") {
            Some(text) => cmdline(text)?,
            None => DEFAULT_CMDLINE.to_owned(),
        },
        kernel_load_addr: values.number("kernel_load_addr", 0, u64::MAX)?,
    })
}

/// Linux and the boot protocols take a NUL-terminated string; what is not printable ASCII would
/// only be a mistake.
fn cmdline(text: Vec<u8>) -> Result<String, CliError> {
    if let Some(offset) = text.iter().position(|byte| !matches!(byte, b' '..=b'~')) {
        return Err(CliError::CmdlineNotAscii {
            offset,
            byte: text[offset],
        });
    }
    if text.len() > MAX_CMDLINE_LEN {
        return Err(CliError::CmdlineTooLong {
            len: text.len(),
            max: MAX_CMDLINE_LEN,
        });
    }
    // All bytes are ASCII, so nothing is replaced.
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn log_level(text: &OsStr) -> Result<LevelFilter, CliError> {
    text.to_str()
        .and_then(|level| level.parse().ok())
        .ok_or_else(|| CliError::LogLevel {
            value: shown(text.as_bytes()),
        })
}

/// A number that was already checked against the type's range.
fn narrow<T: TryFrom<u64>>(number: Option<u64>) -> Option<T> {
    number.and_then(|number| T::try_from(number).ok())
}

fn given<'m>(matches: &'m ArgMatches, flag: &str) -> Option<&'m OsStr> {
    matches
        .get_one::<OsString>(flag.trim_start_matches('-'))
        .map(OsString::as_os_str)
}

/// The flags as clap knows them. What is inside their values is this module's own matter.
fn definition() -> clap::Command {
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
        .about("A reference VMM: boots Linux with KVM.")
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
        .args([
            flag(
                KERNEL.name,
                KERNEL.usage,
                "The kernel: an ELF vmlinux or a vmlinuz (required)",
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
             kernel_load_addr: no part of the kernel may lie below it [default: 1 MiB].\n\n{}",
            exit_status::HELP
        ))
}

/// Turns clap's several lines into one.
fn from_clap(error: &clap::Error) -> Result<Command, CliError> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(shown(text.as_bytes())),
        _ => None,
    };
    // clap names a flag with its value's form: `--vcpu <num=NUMBER>`.
    let flag = |kind| text(kind).map(|text| text.split(' ').next().unwrap_or("").to_owned());
    let usage = || CliError::Usage {
        message: shown(first_line(&error.render().to_string()).as_bytes()),
    };
    Err(match error.kind() {
        ErrorKind::DisplayHelp => return Ok(Command::Help(error.render().to_string())),
        ErrorKind::DisplayVersion => return Ok(Command::Version(error.render().to_string())),
        ErrorKind::UnknownArgument => match text(ContextKind::InvalidArg) {
            Some(argument) => CliError::UnknownArgument { argument },
            None => usage(),
        },
        ErrorKind::InvalidSubcommand => match text(ContextKind::InvalidSubcommand) {
            Some(argument) => CliError::UnknownArgument { argument },
            None => usage(),
        },
        ErrorKind::ArgumentConflict => {
            match (flag(ContextKind::InvalidArg), flag(ContextKind::PriorArg)) {
                (Some(flag), Some(prior)) if flag == prior => CliError::RepeatedFlag { flag },
                // clap takes any stray word for a subcommand.
                _ => match text(ContextKind::InvalidSubcommand) {
                    Some(argument) if argument != HOST => CliError::UnknownArgument { argument },
                    _ => usage(),
                },
            }
        }
        ErrorKind::InvalidValue => {
            let named = flag(ContextKind::InvalidArg);
            let known = [&KERNEL, &MEMORY, &VCPU, &INITRD, &SERIAL, &SUMMARY];
            match known
                .iter()
                .find(|known| Some(known.name) == named.as_deref())
            {
                Some(known) => CliError::MissingValue {
                    flag: known.name,
                    usage: known.usage,
                },
                None if named.as_deref() == Some(LOG) => CliError::MissingValue {
                    flag: LOG,
                    usage: LOG_USAGE,
                },
                None => usage(),
            }
        }
        _ => usage(),
    })
}

fn first_line(text: &str) -> &str {
    let line = text.lines().next().unwrap_or("");
    line.trim_start_matches("error: ")
}
