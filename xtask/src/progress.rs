// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the user sees while something takes time: lines on standard error.

use std::io::{self, Write};
use std::time::Instant;

use crate::error::Error;

/// Writes one line to standard error, whether or not anyone reads it.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "xtask: {line}");
}

/// Writes one line, or several, of a command's result to standard output.
pub fn print(text: &str) -> Result<(), Error> {
    writeln!(io::stdout().lock(), "{text}").map_err(Error::file("write", "standard output"))
}

/// Says that something begins, and with its seconds that it has ended well.
pub fn step<T, E>(what: &str, action: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    say(&format!("{what} ..."));
    let start = Instant::now();
    let value = action()?;
    say(&format!("{what}: {:.1} s", start.elapsed().as_secs_f64()));
    Ok(value)
}
