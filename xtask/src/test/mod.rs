// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `cargo xtask test`: everything that is checked, one line a stage.

mod lab;
mod report;
mod stage;
mod stages;

use std::io::{self, Write};

use crate::error::Error;
use crate::progress;
use crate::workspace::Workspace;
use report::Table;

/// What the user asked for.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The stages that take more than Rust and Debian packages, too.
    pub full: bool,
    /// Show what the stages print, as they do.
    pub verbose: bool,
}

/// Runs all stages, also after a failure, and returns the status.
pub fn command(options: Options) -> Result<u8, Error> {
    let workspace = Workspace::find()?;
    let mut table = Table::default();
    for mut stage in stages::all(&workspace, options.full) {
        let unwritten = Error::file("write", "standard output");
        let mut output = io::stdout();
        write!(
            output,
            "{:<width$} ",
            stage.name,
            width = report::NAME_WIDTH
        )
        .and_then(|()| output.flush())
        .map_err(unwritten)?;
        let result = stage.run(options.verbose);
        progress::print(&result.line())?;
        if let Some(output) = result.failure() {
            progress::say(&format!("{} failed:\n{output}", stage.name));
        }
        table.add(stage.name, result);
    }
    progress::print(&table.to_string())?;
    Ok(u8::from(table.failed() > 0))
}
