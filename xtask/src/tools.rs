// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Cargo's tools and toolchains that not everyone has.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::error::Error;
use crate::{host, process, progress};

/// Makes sure that cargo's tool `name` is there: installs it by its name when it is missing.
pub fn ensure(name: &'static str) -> Result<(), Error> {
    if host::find_program(name).is_some() || in_cargo_home(name).is_some_and(|path| path.exists()) {
        return Ok(());
    }
    progress::step(&format!("installing {name} with cargo install"), || {
        let mut command = Command::new("cargo");
        command
            .args(["install", "--locked", name])
            .stderr(Stdio::piped());
        // For the tool itself, the host's own defaults are right.
        command
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTFLAGS");
        process::capture(&mut command).map(drop)
    })
}

/// Where cargo installs programs. That need not be in PATH; cargo looks there itself.
fn in_cargo_home(name: &str) -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    Some(home?.join("bin").join(name))
}

/// A cargo command on the nightly toolchain.
pub fn nightly(arguments: &[&str]) -> Result<Command, Error> {
    let nightly = || {
        let mut command = Command::new("rustup");
        // Set by the toolchain that runs us, for programs that it starts.
        command
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("CARGO")
            .stderr(Stdio::piped());
        command.args(["run", "nightly", "cargo"]);
        command
    };
    process::capture(nightly().arg("--version")).map_err(|_| Error::NoNightly)?;
    let mut command = nightly();
    command.args(arguments);
    Ok(command)
}
