// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `cargo xtask fuzz`: runs the fuzz targets on nightly.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::error::Error;
use crate::process::Running;
use crate::workspace::Workspace;
use crate::{debian, progress, tools};

/// Where the fuzz workspace lies.
const DIRECTORY: &str = "fuzz";

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// One target, or all.
    pub target: Option<String>,
    /// How long each runs.
    pub seconds: u64,
}

/// Fuzzes, one target after the other, until one finds a fault.
pub fn command(options: Options) -> Result<u8, Error> {
    let workspace = Workspace::find()?;
    let all = targets(&workspace)?;
    let chosen = match options.target {
        None => all,
        Some(target) if all.contains(&target) => vec![target],
        Some(target) => {
            return Err(Error::NoFuzzTarget {
                target,
                known: all.join(", "),
            });
        }
    };
    // libFuzzer is written in C++.
    debian::ensure(&[("c++", "g++")])?;
    tools::ensure("cargo-fuzz")?;
    for target in chosen {
        progress::say(&format!("fuzzing {target} for {} s", options.seconds));
        run(&workspace, &target, options.seconds)?;
    }
    Ok(0)
}

fn run(workspace: &Workspace, target: &str, seconds: u64) -> Result<(), Error> {
    // What the fuzzer discovers goes to the first corpus, the committed one is only read.
    let found = workspace.target.join("fuzz-corpus").join(target);
    fs::create_dir_all(&found).map_err(Error::file("create", &found))?;
    let seeds = Path::new(DIRECTORY).join("corpus").join(target);
    let limit = format!("-max_total_time={seconds}");
    let mut command = tools::nightly(&["fuzz", "run", "--target-dir"])?;
    command
        .arg(workspace.target.join("fuzz"))
        .arg(target)
        .arg(&found)
        .arg(&seeds);
    command.args(["--", &limit]).current_dir(&workspace.root);
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let status = Running::start(&mut command, &[])?.wait(None)?;
    if status.success() {
        return Ok(());
    }
    Err(Error::FuzzTargetFailed {
        target: target.to_owned(),
        artifacts: Path::new(DIRECTORY).join("artifacts").join(target),
    })
}

/// The names of the targets, as cargo knows them.
fn targets(workspace: &Workspace) -> Result<Vec<String>, Error> {
    let fuzz = Workspace::at(&workspace.root.join(DIRECTORY))?;
    let targets = fuzz
        .packages
        .into_iter()
        .flat_map(|package| package.targets);
    Ok(targets
        .filter(|(kind, _)| kind == "bin")
        .map(|(_, name)| name)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_known_and_others_refused() {
        let known = targets(&Workspace::find().unwrap()).unwrap();
        assert!(known.iter().any(|target| target == "requests"), "{known:?}");
        let options = Options {
            target: Some("no-such-target".into()),
            seconds: 1,
        };
        let error = command(options).unwrap_err().to_string();
        assert!(
            error.contains("no-such-target") && error.contains("requests"),
            "{error}"
        );
    }
}
