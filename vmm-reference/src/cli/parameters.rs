// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A flag's value: `name=value[,name=value]…`.
//!
//! The rules, in order:
//! 1. Names are case-insensitive. A name that is not known or given twice is an error.
//! 2. A value that begins with `"` ends at the next `"` that a comma or the end follows, so it may
//!    hold commas, spaces and further quotes. The two quotes are not part of it.
//! 3. A [free-text](Parameter::free_text) value without quotes (a kernel command line) ends only
//!    at a comma that a known name and `=` follow: `console=ttyS0,115200` is one value.
//! 4. Any other value ends at the next comma.
//! 5. An empty value means the default.
//!
//! Values are bytes, because paths are.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::CliError;

/// A parameter that a flag has.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    /// A former name that is still understood.
    pub(super) alias: Option<&'static str>,
    /// See rule 3.
    pub(super) free_text: bool,
}

impl Parameter {
    pub(super) const fn new(name: &'static str) -> Self {
        Self {
            name,
            alias: None,
            free_text: false,
        }
    }

    fn is_named(&self, name: &[u8]) -> bool {
        let same = |known: &str| known.as_bytes().eq_ignore_ascii_case(name);
        same(self.name) || self.alias.is_some_and(same)
    }
}

/// A flag that takes parameters.
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) usage: &'static str,
    pub(super) parameters: &'static [Parameter],
}

/// The parameters that were given to a flag.
pub(super) struct Values {
    flag: &'static Flag,
    values: Vec<(&'static str, Vec<u8>)>,
}

impl Flag {
    /// Splits `text` by the rules above.
    pub(super) fn split(&'static self, text: &OsStr) -> Result<Values, CliError> {
        let mut values: Vec<(&'static str, Vec<u8>)> = Vec::new();
        let mut rest = Some(text.as_bytes());
        while let Some(text) = rest {
            let (name, text) =
                split_at_byte(text, b'=').ok_or_else(|| self.not_a_parameter(text))?;
            let parameter = self.find(name)?;
            if values.iter().any(|(seen, _)| *seen == parameter.name) {
                return Err(CliError::RepeatedParameter {
                    flag: self.name,
                    name: parameter.name,
                });
            }
            let (value, next) = self.value(parameter, text)?;
            values.push((parameter.name, value.to_vec()));
            rest = next;
        }
        Ok(Values { flag: self, values })
    }

    /// The value at the start of `text`, and what follows its comma.
    fn value<'t>(
        &self,
        parameter: &Parameter,
        text: &'t [u8],
    ) -> Result<(&'t [u8], Option<&'t [u8]>), CliError> {
        if let Some(quoted) = text.strip_prefix(b"\"") {
            let ends = |at: &usize| {
                quoted.get(*at) == Some(&b'"') && matches!(quoted.get(at + 1), None | Some(b','))
            };
            let end = (0..quoted.len())
                .find(ends)
                .ok_or(CliError::UnclosedQuote {
                    flag: self.name,
                    name: parameter.name,
                })?;
            let (value, rest) = quoted.split_at(end);
            return Ok((value, rest.strip_prefix(b"\",")));
        }
        let separates = |at: &usize| {
            text.get(*at) == Some(&b',')
                && (!parameter.free_text || self.names_one(&text[at + 1..]))
        };
        match (0..text.len()).find(separates) {
            Some(comma) => Ok((&text[..comma], Some(&text[comma + 1..]))),
            None => Ok((text, None)),
        }
    }

    /// Does `text` begin with a known name and `=`?
    fn names_one(&self, text: &[u8]) -> bool {
        split_at_byte(text, b'=').is_some_and(|(name, _)| self.known(name).is_some())
    }

    fn known(&self, name: &[u8]) -> Option<&'static Parameter> {
        self.parameters.iter().find(|known| known.is_named(name))
    }

    fn find(&self, name: &[u8]) -> Result<&'static Parameter, CliError> {
        self.known(name).ok_or_else(|| CliError::UnknownParameter {
            flag: self.name,
            name: shown(name),
            usage: self.usage,
        })
    }

    fn not_a_parameter(&self, text: &[u8]) -> CliError {
        CliError::NotAParameter {
            flag: self.name,
            text: shown(text),
            usage: self.usage,
        }
    }
}

impl Values {
    /// The value of `name`, unless it is empty or was not given.
    fn take(&mut self, name: &str) -> Option<Vec<u8>> {
        let at = self.values.iter().position(|(given, _)| *given == name)?;
        Some(self.values.swap_remove(at).1).filter(|value| !value.is_empty())
    }

    /// A number from `min` to `max`.
    pub(super) fn number(
        &mut self,
        name: &'static str,
        min: u64,
        max: u64,
    ) -> Result<Option<u64>, CliError> {
        let Some(text) = self.take(name) else {
            return Ok(None);
        };
        let value = parse_number(&text).ok_or_else(|| CliError::NotANumber {
            flag: self.flag.name,
            name,
            value: shown(&text),
        })?;
        if (min..=max).contains(&value) {
            Ok(Some(value))
        } else {
            Err(CliError::OutOfRange {
                flag: self.flag.name,
                name,
                value,
                min,
                max,
            })
        }
    }

    /// A path, which must be there.
    pub(super) fn path(&mut self, name: &'static str) -> Result<PathBuf, CliError> {
        self.take(name)
            .map(|bytes| PathBuf::from(OsString::from_vec(bytes)))
            .ok_or(CliError::MissingPath {
                flag: self.flag.name,
                usage: self.flag.usage,
            })
    }

    /// Text as it is.
    pub(super) fn text(&mut self, name: &str) -> Option<Vec<u8>> {
        self.take(name)
    }
}

/// For a message of one line, whatever the user wrote.
pub(super) fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).escape_debug().to_string()
}

/// Decimal digits, or `0x` and hexadecimal ones; nothing else, also no sign.
fn parse_number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

fn split_at_byte(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|b| *b == byte)?;
    Some((&text[..at], &text[at + 1..]))
}
