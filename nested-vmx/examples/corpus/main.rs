// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Compares this crate's VM-entry checks with what a processor was seen to do.
//!
//! ```sh
//! cargo run -p nested-vmx --example corpus -- nested-vmx/tests/facts/vmlaunch_corpus.tsv
//! ```
//!
//! The file says for many VMLAUNCHes which VMCS they had and how they ended:
//!
//! ```text
//! # caps SUITE 480=d8100000000004|481=7f00000016|…|cr0=80010031|cr4=2020|efer=500|maxphy=40
//! # base SUITE 0=1,800=10,…,6c16=41261e
//! suite   n   delta                     result                       kut
//! SUITE   6   4000=6,6c14=1041de0       VMFAIL 7                     agree
//! SUITE   9   6820=2                    EXIT 80000021 qual 0         agree
//! ```
//!
//! `caps` are the capability MSRs and CR0, CR4 and IA32_EFER of L1 (hexadecimal), and the
//! physical-address width in bits (decimal); `base` the fields of the VMCS by encoding; `delta` the
//! fields that a row has otherwise. All numbers but `n` and `maxphy` are hexadecimal. `EXIT` with a
//! reason whose bit 31 is 0 means that L2 was entered. Error 7 and error 8 count as the same where
//! both a control and the host state are wrong: their order is the processor's choice.
//!
//! Prints how many rows agree, and each row that does not. The status is 0 if all agree, 1 if some
//! do not, and 2 if the file cannot be read or understood.

mod format;
mod row;

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use format::Corpus;

const USAGE: &str = "usage: corpus FILE (the format of nested-vmx/tests/facts/vmlaunch_corpus.tsv)";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        // Whoever reads has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("corpus: {failure}");
            ExitCode::from(2)
        }
    }
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{USAGE}")]
    Usage,
    #[error("cannot read {}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{}: {error}", path.display())]
    Format {
        path: PathBuf,
        error: format::FormatError,
    },
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

fn run() -> Result<ExitCode, Failure> {
    let mut arguments = env::args_os().skip(1);
    let (Some(path), None) = (arguments.next(), arguments.next()) else {
        return Err(Failure::Usage);
    };
    let path = PathBuf::from(path);
    let bytes = fs::read(&path).map_err(|error| Failure::File {
        path: path.clone(),
        error,
    })?;
    let text = String::from_utf8_lossy(&bytes);
    let corpus = Corpus::parse(&text).map_err(|error| Failure::Format { path, error })?;
    if !corpus.unknown.is_empty() {
        let names: Vec<String> = corpus.unknown.iter().map(ToString::to_string).collect();
        eprintln!(
            "corpus: fields that are not known here were left out: {}",
            names.join(", ")
        );
    }
    let mut output = io::stdout().lock();
    let mut disagreeing = 0;
    for row in &corpus.rows {
        if let Err(difference) = row.compare() {
            disagreeing += 1;
            writeln!(
                output,
                "line {}: {} {}: {difference}",
                row.line, row.suite, row.number
            )?;
        }
    }
    let agreeing = corpus.rows.len() - disagreeing;
    writeln!(output, "{agreeing} rows agree, {disagreeing} disagree")?;
    Ok(match disagreeing {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}
