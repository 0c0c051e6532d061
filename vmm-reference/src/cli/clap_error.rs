// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What clap answers instead of flags: help, the version, or several lines about a mistake, of
//! which one is made here.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::flags::{
    DEBUG_EXIT, HOST, INITRD, KERNEL, LOG, LOG_USAGE, MEMORY, NESTED, SERIAL, SUMMARY, VCPU,
};
use super::parameters::shown;
use super::{CliError, Command};

/// Turns clap's several lines into one.
pub(super) fn answer(error: &clap::Error) -> Result<Command, CliError> {
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
            let known = [
                &KERNEL,
                &MEMORY,
                &VCPU,
                &INITRD,
                &SERIAL,
                &DEBUG_EXIT,
                &NESTED,
                &SUMMARY,
            ];
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
