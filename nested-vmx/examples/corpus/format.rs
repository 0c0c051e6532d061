// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Reads the file.

use std::collections::{BTreeSet, HashMap};

use nested_vmx::capability::{Capabilities, Features, Processor};
use nested_vmx::check::L1State;
use nested_vmx::vmcs::{Encoding, Field, Vmcs};
use thiserror::Error;

use super::row::{Observed, Row};

/// What is wrong with a file, and where.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("line {line}: {problem}")]
pub struct FormatError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a line.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Problem {
    /// A row has too few columns.
    #[error("a row has the columns suite, n, delta and result, separated by tabs")]
    Columns,
    /// Something is no assignment.
    #[error("{0:?} is not NAME=NUMBER")]
    Assignment(String),
    /// Something is no number.
    #[error("{0:?} is not a {1} number of at most 64 bits")]
    Number(String, &'static str),
    /// A capability has no meaning.
    #[error(
        "{0:?} is no capability: an MSR from 480 to 493 or 3a, cr0, cr4, efer, or maxphy is meant"
    )]
    Capability(String),
    /// There is no such field.
    #[error("{0:#x} is not the encoding of a VMCS field")]
    Field(u64),
    /// The capabilities of a suite are missing.
    #[error("nothing is known about suite {0:?}: a line `# caps {0} …` must come before")]
    NoCapabilities(String),
    /// The baseline of a suite is missing.
    #[error("suite {0:?} has no baseline: a line `# base {0} …` must come before")]
    NoBaseline(String),
    /// A result has no meaning.
    #[error(
        "{0:?} is no result: `VMFAIL NUMBER`, `VMFAIL INVALID` or `EXIT REASON qual NUMBER` is meant"
    )]
    Result(String),
    /// There is nothing to compare.
    #[error("the file has no rows")]
    Empty,
}

/// The capabilities of a suite.
#[derive(Clone, Copy)]
struct Suite {
    capabilities: Capabilities,
    l1: L1State,
}

/// A file's rows.
pub struct Corpus {
    /// Each with everything that it needs.
    pub rows: Vec<Row>,
    /// Fields that this crate does not know, and left out: a newer processor may have them.
    pub unknown: BTreeSet<Encoding>,
}

impl Corpus {
    /// Reads a file's text.
    ///
    /// # Errors
    ///
    /// The first line that cannot be understood.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let mut suites: HashMap<String, Suite> = HashMap::new();
        let mut baselines: HashMap<String, Vmcs> = HashMap::new();
        let mut rows = Vec::new();
        let mut unknown = BTreeSet::new();
        let mut last = 0;
        for (number, line) in (1..).zip(text.lines()) {
            last = number;
            let at = |problem| FormatError {
                line: number,
                problem,
            };
            if let Some(comment) = line.strip_prefix('#') {
                let mut words = comment.split_whitespace();
                match (words.next(), words.next(), words.next()) {
                    (Some("caps"), Some(suite), Some(list)) => {
                        suites.insert(suite.to_owned(), capabilities(list).map_err(at)?);
                    }
                    (Some("base"), Some(suite), Some(list)) => {
                        let known = suites
                            .get(suite)
                            .ok_or_else(|| at(Problem::NoCapabilities(suite.to_owned())))?;
                        let mut vmcs = Vmcs::new(known.capabilities.basic.revision());
                        assign(&mut vmcs, list, &mut unknown).map_err(at)?;
                        baselines.insert(suite.to_owned(), vmcs);
                    }
                    _ => {}
                }
                continue;
            }
            if line.trim().is_empty() || line.starts_with("suite\t") {
                continue;
            }
            rows.push(row(number, line, &suites, &baselines, &mut unknown).map_err(at)?);
        }
        match rows.is_empty() {
            true => Err(FormatError {
                line: last,
                problem: Problem::Empty,
            }),
            false => Ok(Self { rows, unknown }),
        }
    }
}

fn row(
    line: usize,
    text: &str,
    suites: &HashMap<String, Suite>,
    baselines: &HashMap<String, Vmcs>,
    unknown: &mut BTreeSet<Encoding>,
) -> Result<Row, Problem> {
    let mut columns = text.split('\t');
    let mut column = || columns.next().map(str::trim).ok_or(Problem::Columns);
    let (suite, number, delta, result) = (column()?, column()?, column()?, column()?);
    let known = suites
        .get(suite)
        .ok_or_else(|| Problem::NoCapabilities(suite.to_owned()))?;
    let baseline = baselines
        .get(suite)
        .ok_or_else(|| Problem::NoBaseline(suite.to_owned()))?;
    let mut vmcs12 = baseline.clone();
    assign(&mut vmcs12, delta, unknown)?;
    Ok(Row {
        line,
        suite: suite.to_owned(),
        number: number.to_owned(),
        capabilities: known.capabilities,
        l1: known.l1,
        vmcs12,
        observed: observed(result).ok_or_else(|| Problem::Result(result.to_owned()))?,
    })
}

fn hexadecimal(text: &str) -> Result<u64, Problem> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16).map_err(|_| Problem::Number(text.to_owned(), "hexadecimal"))
}

fn assignment(text: &str) -> Result<(&str, &str), Problem> {
    text.split_once('=')
        .map(|(name, value)| (name.trim(), value.trim()))
        .ok_or_else(|| Problem::Assignment(text.to_owned()))
}

fn capabilities(list: &str) -> Result<Suite, Problem> {
    let mut width = 52;
    let mut l1 = L1State::new(0, 0, 0);
    let mut msrs = Vec::new();
    for item in list.split('|').filter(|item| !item.is_empty()) {
        let (name, value) = assignment(item)?;
        match name {
            "cr0" => l1.cr0 = hexadecimal(value)?,
            "cr4" => l1.cr4 = hexadecimal(value)?,
            "efer" => l1.efer = hexadecimal(value)?,
            "maxphy" => {
                width = value
                    .parse()
                    .map_err(|_| Problem::Number(value.to_owned(), "decimal"))?;
            }
            _ => {
                let index = hexadecimal(name)
                    .ok()
                    .and_then(|index| u32::try_from(index).ok())
                    .ok_or_else(|| Problem::Capability(name.to_owned()))?;
                msrs.push((index, hexadecimal(value)?));
            }
        }
    }
    let mut processor = Processor::new(width);
    // The file does not say what CPUID says beyond that. What a control can load exists.
    processor.perf_global_ctrl = u64::MAX;
    let mut capabilities = Capabilities::none(processor);
    for (index, value) in msrs {
        if !capabilities.set_msr(index, value) {
            return Err(Problem::Capability(format!("{index:x}")));
        }
    }
    // CR4 may have a bit only where the processor has the feature.
    for (bit, feature) in [
        (nested_vmx::registers::cr4::LA57, Features::LA57),
        (nested_vmx::registers::cr4::PCIDE, Features::PCID),
        (
            nested_vmx::registers::cr4::CET,
            Features::CET_SS.union(Features::CET_IBT),
        ),
    ] {
        if capabilities.cr4_fixed1 & bit != 0 {
            capabilities.processor.features.insert(feature);
        }
    }
    Ok(Suite { capabilities, l1 })
}

/// Sets fields, each by an access with its encoding.
fn assign(vmcs: &mut Vmcs, list: &str, unknown: &mut BTreeSet<Encoding>) -> Result<(), Problem> {
    for item in list.split(',').filter(|item| !item.trim().is_empty()) {
        let (name, value) = assignment(item)?;
        let number = hexadecimal(name)?;
        let value = hexadecimal(value)?;
        let encoding = u32::try_from(number)
            .map(Encoding)
            .map_err(|_| Problem::Field(number))?;
        if !encoding.is_well_formed() {
            return Err(Problem::Field(number));
        }
        let Some(field) = Field::from_encoding(encoding) else {
            unknown.insert(encoding);
            continue;
        };
        let value = match encoding == field.encoding() {
            true => value,
            // The high half.
            false => vmcs.read(field) & 0xffff_ffff | value << 32,
        };
        vmcs.write(field, value);
    }
    Ok(())
}

fn observed(text: &str) -> Option<Observed> {
    let mut words = text.split_whitespace();
    match (words.next()?, words.next()?) {
        ("VMFAIL", "INVALID" | "invalid") => Some(Observed::FailInvalid),
        ("VMFAIL", number) => Some(Observed::Fail(number.parse().ok()?)),
        ("EXIT", reason) => {
            let reason = u32::from_str_radix(reason, 16).ok()?;
            let qualification = match (words.next(), words.next()) {
                (Some("qual"), Some(number)) => u64::from_str_radix(number, 16).ok()?,
                _ => return None,
            };
            Some(match reason >> 31 {
                0 => Observed::Entered,
                _ => Observed::EntryFailure {
                    reason,
                    qualification,
                },
            })
        }
        _ => None,
    }
}
