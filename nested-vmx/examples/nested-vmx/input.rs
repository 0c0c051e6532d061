// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The input: a vmcs12 or a nested state, from bytes or from text.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use nested_vmx::kvm::{HEADER_SIZE, NestedState};
use nested_vmx::vmcs::{Encoding, Field, KVM_REVISION, REGION_SIZE, Vmcs};

use super::cli::Kind;
use super::error::{Error, Problem};
use super::nested_state;

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A vmcs12.
    Vmcs12(Box<Vmcs>),
    /// A vCPU's nested state.
    NestedState(Box<NestedState>),
}

/// Reads a file that is not larger than an input can be.
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    const LIMIT: u64 = 1 << 20;
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes))
        .map_err(|error| Error::Read {
            path: path.to_owned(),
            error,
        })?;
    match bytes.len() as u64 > LIMIT {
        true => Err(Error::TooLarge(path.to_owned())),
        false => Ok(bytes),
    }
}

impl Input {
    /// Understands a file's bytes.
    pub fn parse(bytes: &[u8], kind: Kind) -> Result<Self, Problem> {
        match kind {
            Kind::Vmcs12 => vmcs12(bytes).map(|vmcs| Self::Vmcs12(Box::new(vmcs))),
            Kind::NestedState => {
                nested_state::parse(bytes).map(|state| Self::NestedState(Box::new(state)))
            }
            Kind::Text => {
                let text = std::str::from_utf8(bytes).map_err(|_| Problem::NotText)?;
                fields(text).map(|vmcs| Self::Vmcs12(Box::new(vmcs)))
            }
            Kind::Auto => Self::parse(bytes, guess(bytes)?),
        }
    }
}

/// What the bytes look like.
fn guess(bytes: &[u8]) -> Result<Kind, Problem> {
    let word = |at: usize| {
        let bytes = bytes.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let is_text = std::str::from_utf8(bytes).is_ok_and(|text| {
        !text.contains(|c: char| c.is_control() && !c.is_whitespace()) && text.contains('=')
    });
    if is_text {
        return Ok(Kind::Text);
    }
    let header = word(0).map(|header| header & 0x7fff_ffff);
    if header == Some(KVM_REVISION) || bytes.len() == REGION_SIZE {
        return Ok(Kind::Vmcs12);
    }
    let size = word(4).and_then(|size| usize::try_from(size).ok());
    if size == Some(bytes.len()) || size.is_some_and(|size| matches!(size, 128 | 4224 | 8320)) {
        return Ok(Kind::NestedState);
    }
    match bytes.len() {
        Field::KVM_LAYOUT_END..HEADER_AND_VMCS => Ok(Kind::Vmcs12),
        length => Err(Problem::Unknown(length)),
    }
}

/// More than this is no vmcs12 alone.
const HEADER_AND_VMCS: usize = HEADER_SIZE + Field::KVM_LAYOUT_END;

/// The region that begins with these bytes: KVM writes 998 of the 4096.
pub fn vmcs12(bytes: &[u8]) -> Result<Vmcs, Problem> {
    let wrong = Problem::VmcsSize(bytes.len());
    if bytes.len() < Field::KVM_LAYOUT_END {
        return Err(wrong);
    }
    let mut region = [0; REGION_SIZE];
    region
        .get_mut(..bytes.len())
        .ok_or(wrong)?
        .copy_from_slice(bytes);
    Ok(Vmcs::from_bytes(region))
}

/// Assignments, separated by ends of lines or commas, each with the number of its line.
pub fn assignments(text: &str) -> impl Iterator<Item = Result<(usize, &str, &str), Problem>> {
    (1..)
        .zip(text.lines())
        .flat_map(|(line, text)| {
            let text = text.split('#').next().unwrap_or("");
            text.split([',', '|']).map(move |item| (line, item.trim()))
        })
        .filter(|(_, item)| !item.is_empty())
        .map(|(line, item)| {
            let (name, value) = item.split_once('=').ok_or_else(|| Problem::Assignment {
                line,
                text: item.to_owned(),
            })?;
            Ok((line, name.trim(), value.trim()))
        })
}

/// A hexadecimal number.
pub fn number(line: usize, text: &str) -> Result<u64, Problem> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16).map_err(|_| Problem::Number {
        line,
        text: text.to_owned(),
    })
}

/// The VMCS with these fields, all others 0.
fn fields(text: &str) -> Result<Vmcs, Problem> {
    let mut vmcs = Vmcs::new(KVM_REVISION);
    let mut any = false;
    for assignment in assignments(text) {
        let (line, name, value) = assignment?;
        let value = number(line, value)?;
        let unknown = || Problem::Field {
            line,
            text: name.to_owned(),
        };
        let (field, encoding) = match Field::from_name(name) {
            Some(field) => (field, field.encoding()),
            None => {
                let encoding = number(line, name)
                    .ok()
                    .and_then(|number| u32::try_from(number).ok())
                    .map(Encoding)
                    .ok_or_else(unknown)?;
                let field = Field::from_encoding(encoding).ok_or_else(unknown)?;
                (field, encoding)
            }
        };
        let value = match encoding == field.encoding() {
            true => value,
            // The high half.
            false => vmcs.read(field) & 0xffff_ffff | value << 32,
        };
        vmcs.write(field, value);
        any = true;
    }
    match any {
        true => Ok(vmcs),
        false => Err(Problem::Empty),
    }
}
