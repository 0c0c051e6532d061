// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `cargo xtask coverage`: how many lines of each crate its tests execute.
//!
//! `coverage_config.json` at the root has rust-vmm-ci's form: `coverage_score` is the least
//! percentage, `exclude_path` a comma-separated list of paths that it does not count for,
//! `crate_features` the features to build with.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::error::Error;
use crate::process::Running;
use crate::workspace::Workspace;
use crate::{progress, tools};

/// The file with the score.
const CONFIG: &str = "coverage_config.json";

/// Lines that were executed, of those that can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Coverage {
    covered: u64,
    coverable: u64,
}

impl Coverage {
    fn percent(self) -> f64 {
        if self.coverable == 0 {
            return 100.0;
        }
        self.covered as f64 * 100.0 / self.coverable as f64
    }
}

/// What `coverage_config.json` says.
#[derive(Clone, Debug, PartialEq)]
struct Config {
    score: f64,
    exclude: Vec<String>,
    features: String,
}

/// Measures, prints each crate's coverage, and fails when one is below the score.
pub fn command() -> Result<u8, Error> {
    let workspace = Workspace::find()?;
    let config = Config::read(&workspace.root.join(CONFIG))?;
    let crates: Vec<_> = workspace.published().map(str::to_owned).collect();
    tools::ensure("cargo-tarpaulin")?;
    let report = measure(&workspace, &config, &crates)?;
    let coverages = by_crate(&report, &workspace.root, &crates).ok_or_else(|| Error::Output {
        command: "cargo tarpaulin".to_owned(),
        reason: "its JSON report has another form than expected".to_owned(),
    })?;
    let (table, low) = judge(&coverages, &config);
    progress::print(table.trim_end())?;
    if low.is_empty() {
        Ok(0)
    } else {
        Err(Error::Coverage {
            low,
            config: CONFIG,
        })
    }
}

/// Runs the tests of `crates` and returns the report.
fn measure(workspace: &Workspace, config: &Config, crates: &[String]) -> Result<Value, Error> {
    let directory = workspace.target.join("coverage");
    fs::create_dir_all(&directory).map_err(Error::file("create", &directory))?;
    let report = directory.join("tarpaulin-report.json");
    // A report of an earlier run must not be taken for this one's.
    let _ = fs::remove_file(&report);
    // The other engine stops the program at breakpoints, which its signals do not survive.
    let mut command = workspace.cargo(["tarpaulin", "--engine", "llvm", "--skip-clean"]);
    command
        .args(["--out", "Json", "--timeout", "600", "--output-dir"])
        .arg(&directory);
    command.arg("--target-dir").arg(directory.join("target"));
    if !config.features.is_empty() {
        command.args(["--features", &config.features]);
    }
    for name in crates {
        command.args(["--packages", name]);
    }
    // What the tests print is of interest only where one fails.
    let log = directory.join("tests.log");
    let output = fs::File::create(&log).map_err(Error::file("create", &log))?;
    command.stdin(Stdio::null()).stdout(output);
    let status = Running::start(&mut command, &[])?.wait(None)?;
    if !status.success() {
        let output = fs::read(&log).map_err(Error::file("read", &log))?;
        eprint!("{}", String::from_utf8_lossy(&output));
        let command = "cargo tarpaulin".to_owned();
        return Err(Error::Failed {
            command,
            status,
            details: String::new(),
        });
    }
    let text = fs::read_to_string(&report).map_err(Error::file("read", &report))?;
    serde_json::from_str(&text).map_err(|error| Error::Output {
        command: "cargo tarpaulin".to_owned(),
        reason: error.to_string(),
    })
}

impl Config {
    fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
        Self::parse(&text).ok_or_else(|| Error::CoverageConfig(path.to_owned()))
    }

    fn parse(text: &str) -> Option<Self> {
        let config: Value = serde_json::from_str(text).ok()?;
        let exclude = config["exclude_path"].as_str()?.split(',').map(str::trim);
        Some(Self {
            score: config["coverage_score"].as_f64()?,
            exclude: exclude
                .filter(|path| !path.is_empty())
                .map(str::to_owned)
                .collect(),
            features: config["crate_features"].as_str()?.to_owned(),
        })
    }

    fn excludes(&self, name: &str) -> bool {
        self.exclude
            .iter()
            .any(|path| path.trim_end_matches('/') == name)
    }
}

/// Adds up the files of each crate. A crate's directory is called like the crate.
fn by_crate(report: &Value, root: &Path, crates: &[String]) -> Option<BTreeMap<String, Coverage>> {
    let mut coverages: BTreeMap<_, _> = crates
        .iter()
        .map(|name| (name.clone(), Coverage::default()))
        .collect();
    for file in report["files"].as_array()? {
        let path: PathBuf = file["path"]
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let Ok(relative) = path.strip_prefix(root) else {
            continue;
        };
        let mut components = relative.iter().filter_map(|part| part.to_str());
        let coverage = components.next().and_then(|name| coverages.get_mut(name));
        // Tests do not count as covered by themselves.
        let is_source = components.next() == Some("src") && !relative.ends_with("tests.rs");
        if let (Some(coverage), true) = (coverage, is_source) {
            coverage.covered += file["covered"].as_u64()?;
            coverage.coverable += file["coverable"].as_u64()?;
        }
    }
    Some(coverages)
}

/// The table, and the crates that are below the score.
fn judge(coverages: &BTreeMap<String, Coverage>, config: &Config) -> (String, String) {
    let (mut table, mut low) = (String::new(), Vec::new());
    for (name, coverage) in coverages {
        let (percent, Coverage { covered, coverable }) = (coverage.percent(), *coverage);
        let note = if config.excludes(name) {
            "no score".to_owned()
        } else {
            if percent < config.score {
                low.push(format!("{name} has {percent:.1} %"));
            }
            format!("score {}", config.score)
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            table,
            "{name:<16} {percent:>5.1} %  {covered:>5}/{coverable:<5} lines, {note}"
        );
    }
    (table, low.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config() -> Config {
        let text = r#"{"coverage_score": 90, "exclude_path": "c/, d", "crate_features": ""}"#;
        Config::parse(text).unwrap()
    }

    #[test]
    fn the_committed_configuration_is_read() {
        let root = Workspace::find().unwrap().root;
        assert!(Config::read(&root.join(CONFIG)).unwrap().score > 0.0);
        assert_eq!(Config::parse("{}"), None);
    }

    #[test]
    fn files_are_added_up_by_crate() {
        let file = |path: &[&str], covered, coverable| json!({"path": path, "covered": covered, "coverable": coverable});
        let report = json!({"files": [
            file(&["/", "w", "a", "src", "lib.rs"], 3, 4),
            file(&["/", "w", "a", "src", "b", "mod.rs"], 1, 4),
            file(&["/", "w", "a", "src", "b", "tests.rs"], 9, 9),
            file(&["/", "w", "a", "tests", "it.rs"], 9, 9),
            file(&["/", "elsewhere", "lib.rs"], 9, 9),
        ]});
        let coverages = by_crate(&report, Path::new("/w"), &["a".into(), "b".into()]).unwrap();
        assert_eq!(
            coverages["a"],
            Coverage {
                covered: 4,
                coverable: 8
            }
        );
        assert_eq!(coverages["b"], Coverage::default());
        assert!(by_crate(&json!({}), Path::new("/w"), &[]).is_none());
    }

    #[test]
    fn what_is_below_the_score_is_named() {
        let low = Coverage {
            covered: 8,
            coverable: 10,
        };
        let high = Coverage {
            covered: 9,
            coverable: 10,
        };
        let coverages = [("a", high), ("b", low), ("c", low)].map(|(n, c)| (n.to_owned(), c));
        let (table, below) = judge(&coverages.into(), &config());
        assert_eq!(below, "b has 80.0 %");
        assert_eq!(table.lines().count(), 3);
        assert!(
            table.contains("c                 80.0 %      8/10    lines, no score"),
            "{table}"
        );
    }
}
