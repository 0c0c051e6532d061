// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Any words taken for the VMM's command line, one a line of the input.
//!
//! They are refused in one line, or understood; and what was understood, written down as a command
//! line, is understood as the same.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use vmm_reference::cli::{Command, parse};
use vmm_reference::config::{SerialConfig, VmmConfig};

/// Parses `data`.
pub fn run(data: &[u8]) {
    let words = data
        .split(|byte| *byte == b'\n')
        .map(|word| OsString::from_vec(word.to_vec()));
    match parse(std::iter::once("vmm-reference".into()).chain(words)) {
        Ok(Command::Run(config)) => check_round_trip(config),
        Ok(_) => {}
        Err(error) => {
            let line = error.to_string();
            assert!(
                !line.is_empty() && !line.contains(char::is_control),
                "{line:?}"
            );
        }
    }
}

fn check_round_trip(config: VmmConfig) {
    // The one thing that a value can't hold.
    let in_quotes = |text: &[u8]| !text.windows(2).any(|pair| pair == b"\",");
    let paths = [
        Some(config.kernel.path.as_path()),
        config.initrd.as_deref(),
        config.summary.as_deref(),
        match &config.serial {
            SerialConfig::File(path) => Some(path),
            SerialConfig::Stdio => None,
        },
    ];
    let paths_fit = paths
        .into_iter()
        .flatten()
        .all(|path| in_quotes(bytes(path)));
    if !paths_fit || !in_quotes(config.kernel.cmdline.as_bytes()) {
        return;
    }
    assert_eq!(parse(written(&config)), Ok(Command::Run(config)));
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// The command line that asks for `config`.
fn written(config: &VmmConfig) -> Vec<OsString> {
    let mut words = vec![OsString::from("vmm-reference")];
    let mut flag = |name: &str, value: &[&[u8]]| {
        words.extend([name.into(), OsString::from_vec(value.concat())]);
    };
    let address = config
        .kernel
        .kernel_load_addr
        .map_or(String::new(), |at| at.to_string());
    flag(
        "--kernel",
        &[
            b"kernel_load_addr=",
            address.as_bytes(),
            b",path=\"",
            bytes(&config.kernel.path),
            b"\",cmdline=\"",
            config.kernel.cmdline.as_bytes(),
            b"\"",
        ],
    );
    flag(
        "--memory",
        &[b"size_mib=", config.memory.size_mib.to_string().as_bytes()],
    );
    flag(
        "--vcpu",
        &[b"num=", config.vcpus.num.to_string().as_bytes()],
    );
    flag("--log", &[config.log.as_str().as_bytes()]);
    if let Some(path) = &config.initrd {
        flag("--initrd", &[b"path=\"", bytes(path), b"\""]);
    }
    if let SerialConfig::File(path) = &config.serial {
        flag("--serial", &[b"file=\"", bytes(path), b"\""]);
    }
    if let Some(port) = config.debug_exit {
        flag("--debug-exit", &[b"port=", port.to_string().as_bytes()]);
    }
    if let Some(path) = &config.summary {
        flag("--summary", &[b"file=\"", bytes(path), b"\""]);
    }
    words
}
