// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! This workspace, as cargo sees it: where it lies, what is in it, and how to build a part of it.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::error::Error;
use crate::process;

/// The workspace.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// The directory of the root manifest.
    pub root: PathBuf,
    /// Cargo's target directory.
    pub target: PathBuf,
    /// The members.
    pub packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Whether it may be published.
    pub published: bool,
    /// Its targets: kind (`lib`, `bin`, `test`, …) and name.
    pub targets: Vec<(String, String)>,
}

/// A program that cargo built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The name of its target.
    pub target: String,
    /// Where it is.
    pub path: PathBuf,
}

impl Workspace {
    /// Asks cargo about the workspace that this program was started in.
    pub fn find() -> Result<Self, Error> {
        // `cargo run` sets it, also when the checkout was moved since the build.
        let directory = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| OsString::from("."));
        Self::at(Path::new(&directory))
    }

    /// Asks cargo about the workspace at `directory`.
    pub fn at(directory: &Path) -> Result<Self, Error> {
        let mut command = cargo();
        command.current_dir(directory).stderr(Stdio::piped());
        command.args(["metadata", "--format-version", "1", "--no-deps"]);
        let output = process::capture(&mut command)?;
        parse(&output).ok_or_else(|| Error::Output {
            command: process::describe(&command),
            reason: "it is not cargo's metadata, version 1".to_owned(),
        })
    }

    /// A cargo command that runs in the workspace.
    pub fn cargo<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root).args(arguments);
        command
    }

    /// Builds with `cargo ARGUMENTS` and returns the programs that came of it. Cargo shows its
    /// progress on standard error.
    pub fn build(&self, arguments: &[&str]) -> Result<Vec<Built>, Error> {
        let mut command = self.cargo(arguments);
        command
            .arg("--message-format=json-render-diagnostics")
            .stderr(Stdio::inherit());
        let output = process::capture(&mut command)?;
        Ok(output.lines().filter_map(executable).collect())
    }

    /// Builds with `cargo ARGUMENTS` and returns the program called `target`.
    pub fn build_one(&self, arguments: &[&str], target: &str) -> Result<PathBuf, Error> {
        let built = self
            .build(arguments)?
            .into_iter()
            .find(|built| built.target == target);
        built.map(|built| built.path).ok_or_else(|| Error::Output {
            command: format!("cargo {}", arguments.join(" ")),
            reason: format!("it names no program {target}"),
        })
    }

    /// The names of the members that are published.
    pub fn published(&self) -> impl Iterator<Item = &str> {
        let published = self.packages.iter().filter(|package| package.published);
        published.map(|package| package.name.as_str())
    }
}

/// The cargo that runs us.
fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// Reads cargo's metadata.
fn parse(metadata: &str) -> Option<Workspace> {
    let metadata: Value = serde_json::from_str(metadata).ok()?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let package = |value: &Value| {
        let targets = value["targets"].as_array()?.iter().filter_map(|target| {
            Some((
                text(target["kind"].as_array()?.first()?)?,
                text(&target["name"])?,
            ))
        });
        Some(Package {
            name: text(&value["name"])?,
            published: value["publish"].is_null(),
            targets: targets.collect(),
        })
    };
    Some(Workspace {
        root: text(&metadata["workspace_root"])?.into(),
        target: text(&metadata["target_directory"])?.into(),
        packages: metadata["packages"]
            .as_array()?
            .iter()
            .filter_map(package)
            .collect(),
    })
}

/// Reads one of the messages that cargo prints while it builds: the program it is about, if any.
fn executable(message: &str) -> Option<Built> {
    let message: Value = serde_json::from_str(message).ok()?;
    Some(Built {
        target: message["target"]["name"].as_str()?.to_owned(),
        path: message["executable"].as_str()?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata() {
        let workspace = parse(
            r#"{"workspace_root": "/w", "target_directory": "/t", "packages": [
                {"name": "a", "targets": [{"kind": ["lib"], "name": "a"},
                                          {"kind": ["test"], "name": "kvm"}]}]}"#,
        )
        .unwrap();
        assert_eq!(
            (workspace.root, workspace.target),
            ("/w".into(), "/t".into())
        );
        let targets = [("lib", "a"), ("test", "kvm")].map(|(k, n)| (k.to_owned(), n.to_owned()));
        assert_eq!(
            workspace.packages,
            [Package {
                name: "a".into(),
                published: true,
                targets: targets.into()
            }]
        );
        assert!(parse("{}").is_none());
        assert!(parse("not json").is_none());
    }

    #[test]
    fn build_messages() {
        let built =
            r#"{"reason":"compiler-artifact","target":{"name":"kvm"},"executable":"/t/kvm-1"}"#;
        assert_eq!(
            executable(built),
            Some(Built {
                target: "kvm".into(),
                path: "/t/kvm-1".into()
            })
        );
        let library = r#"{"reason":"compiler-artifact","target":{"name":"a"},"executable":null}"#;
        assert_eq!(executable(library), None);
        assert_eq!(
            executable(r#"{"reason":"build-finished","success":true}"#),
            None
        );
    }

    #[test]
    fn this_workspace() {
        let workspace = Workspace::find().unwrap();
        assert!(
            workspace
                .packages
                .iter()
                .any(|package| package.name == "xtask")
        );
        assert!(workspace.published().any(|name| name == "vcpu-requests"));
        assert!(!workspace.published().any(|name| name == "xtask"));
    }
}
