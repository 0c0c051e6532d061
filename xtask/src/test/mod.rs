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
use stage::Stage;

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only the stages in whose names this stands.
    pub only: Option<String>,
    /// The stages that take more than Rust and Debian packages, too.
    pub full: bool,
    /// Show what the stages print, as they do.
    pub verbose: bool,
}

/// Runs all stages, also after a failure, and returns the status.
pub fn command(options: Options) -> Result<u8, Error> {
    let workspace = Workspace::find()?;
    let mut table = Table::default();
    let stages = stages::all(&workspace, options.full);
    for mut stage in chosen(stages, options.only.as_deref())? {
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

/// The stages in whose names `only` stands.
fn chosen(mut stages: Vec<Stage>, only: Option<&str>) -> Result<Vec<Stage>, Error> {
    let Some(only) = only else {
        return Ok(stages);
    };
    let known: Vec<_> = stages.iter().map(|stage| stage.name).collect();
    stages.retain(|stage| stage.name.contains(only));
    if stages.is_empty() {
        return Err(Error::NoStage {
            only: only.to_owned(),
            known: known.join(", "),
        });
    }
    Ok(stages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_name_chooses_stages() {
        let stages =
            || ["lab svm: boot", "lab vmx: boot", "clippy"].map(|name| Stage::new(name, []));
        let names = |only| {
            let chosen = chosen(stages().into(), only)?;
            Ok::<Vec<_>, Error>(chosen.iter().map(|stage| stage.name).collect())
        };
        assert_eq!(names(None).unwrap().len(), 3);
        assert_eq!(names(Some("vmx")).unwrap(), ["lab vmx: boot"]);
        let error = names(Some("nothing")).unwrap_err();
        assert!(
            error.to_string().contains("lab vmx: boot, clippy"),
            "{error}"
        );
        assert_eq!(error.status(), 2);
    }
}
