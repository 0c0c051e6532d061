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

mod clap_error;
mod error;
mod flags;
mod parameters;

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::ArgMatches;
use log::LevelFilter;
use nested_vmx::soft::Catch;

pub use self::error::CliError;
use self::flags::{
    DEBUG_EXIT, HOST, INITRD, KERNEL, LOG, MEMORY, NESTED, NOT_YET, SERIAL, SUMMARY, VCPU,
};
use self::parameters::shown;
use crate::config::{
    DEFAULT_CMDLINE, DEFAULT_DEBUG_EXIT_PORT, DEFAULT_MEMORY_MIB, KernelConfig, MAX_CMDLINE_LEN,
    MAX_VCPUS, MemoryConfig, NestedConfig, SerialConfig, VcpuConfig, VmmConfig,
};
use crate::devices::DebugExit;

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
    let matches = match flags::definition().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => return clap_error::answer(&error),
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
    if let Some(text) = given(matches, DEBUG_EXIT.name) {
        let last = u16::MAX - (DebugExit::PORTS - 1);
        let port = DEBUG_EXIT.split(text)?.number("port", 0, last.into())?;
        config.debug_exit = Some(narrow(port).unwrap_or(DEFAULT_DEBUG_EXIT_PORT));
    }
    if let Some(text) = given(matches, NESTED.name) {
        config.nested = Some(nested(text)?);
        if config.vcpus.num > 1 {
            return Err(CliError::NestedVcpus {
                num: config.vcpus.num,
            });
        }
    }
    if let Some(text) = given(matches, LOG) {
        config.log = log_level(text)?;
    }
    if let Some(text) = given(matches, SUMMARY.name) {
        config.summary = Some(SUMMARY.split(text)?.path("file")?);
    }
    Ok(config)
}

fn nested(text: &OsStr) -> Result<NestedConfig, CliError> {
    let unknown = |value: &[u8]| CliError::Nested {
        value: shown(value),
        usage: NESTED.usage,
    };
    let bytes = text.as_bytes();
    let (kind, rest) = match bytes.iter().position(|byte| *byte == b',') {
        Some(comma) => (
            &bytes[..comma],
            Some(OsStr::from_bytes(&bytes[comma + 1..])),
        ),
        None => (bytes, None),
    };
    if !kind.eq_ignore_ascii_case(b"soft") {
        return Err(unknown(kind));
    }
    let mut config = NestedConfig::default();
    if let Some(value) = rest.map(|rest| NESTED.split(rest)).transpose()?
        && let Some(value) = { value }.text("catch")
    {
        config.catch = match value.to_ascii_lowercase().as_slice() {
            b"auto" => None,
            b"exits" => Some(Catch::Exits),
            b"stops" => Some(Catch::Stops),
            b"steps" => Some(Catch::Steps),
            _ => return Err(unknown(&value)),
        };
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
