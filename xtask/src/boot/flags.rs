// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The VMM's flags: read with the VMM's own parser, completed with what a boot needs, and written
//! out again.

use std::ffi::OsString;
use std::path::Path;

use vmm_reference::cli::{self, CliError, Command};
use vmm_reference::config::{DEFAULT_CMDLINE, SerialConfig, VmmConfig};

use crate::error::Error;

/// Reads `flags`. A kernel, a command line and an initramfs that they do not give are ours.
pub fn parse(flags: &[OsString], kernel: &Path, initrd: &Path) -> Result<VmmConfig, Error> {
    let command = match parse_words(flags) {
        Err(CliError::MissingKernel) => {
            parse_words(&[flags, &["--kernel".into(), kernel_value(kernel)]].concat())
        }
        // Only a command line was given: the path goes in front of it.
        Err(CliError::MissingPath {
            flag: "--kernel", ..
        }) => parse_words(&with_kernel_path(flags, kernel)),
        other => other,
    };
    let Command::Run(mut config) = command.map_err(Error::Flags)? else {
        return Err(Error::NotABoot);
    };
    if config.kernel.cmdline == DEFAULT_CMDLINE {
        // The console is slow where every byte leaves the guest.
        config.kernel.cmdline.push_str(" quiet");
    }
    config.initrd.get_or_insert_with(|| initrd.to_owned());
    Ok(config)
}

fn parse_words(flags: &[OsString]) -> Result<Command, CliError> {
    cli::parse(
        [OsString::from("vmm-reference")]
            .into_iter()
            .chain(flags.iter().cloned()),
    )
}

/// The flags with the kernel's path in front of the value of `--kernel`.
fn with_kernel_path(flags: &[OsString], kernel: &Path) -> Vec<OsString> {
    let mut flags = flags.to_vec();
    let insert = |value: &mut OsString, before: &str, given: &str| {
        let mut new = OsString::from(before);
        new.push(kernel_value(kernel));
        new.push(",");
        new.push(given);
        *value = new;
    };
    let mut is_value = false;
    for flag in &mut flags {
        let text = flag.to_string_lossy().into_owned();
        if is_value {
            insert(flag, "", &text);
        } else if let Some(value) = text.strip_prefix("--kernel=") {
            insert(flag, "--kernel=", value);
        }
        is_value = !is_value && text == "--kernel";
    }
    flags
}

fn kernel_value(path: &Path) -> OsString {
    parameter("path", path)
}

/// `name="value"`: quoted, for a path may hold a comma.
fn parameter(name: &str, value: impl AsRef<std::ffi::OsStr>) -> OsString {
    let mut text = OsString::from(name);
    text.push("=\"");
    text.push(value.as_ref());
    text.push("\"");
    text
}

/// Writes `config` as flags.
pub fn to_arguments(config: &VmmConfig) -> Vec<OsString> {
    let mut kernel = kernel_value(&config.kernel.path);
    kernel.push(",");
    kernel.push(parameter("cmdline", &config.kernel.cmdline));
    if let Some(address) = config.kernel.kernel_load_addr {
        kernel.push(format!(",kernel_load_addr={address:#x}"));
    }
    let serial = match &config.serial {
        SerialConfig::Stdio => "stdio".into(),
        SerialConfig::File(path) => parameter("file", path),
    };
    let mut arguments: Vec<OsString> = vec![
        "--kernel".into(),
        kernel,
        "--memory".into(),
        format!("size_mib={}", config.memory.size_mib).into(),
        "--vcpu".into(),
        format!("num={}", config.vcpus.num).into(),
        "--serial".into(),
        serial,
        "--log".into(),
        config.log.to_string().to_lowercase().into(),
    ];
    if let Some(path) = &config.initrd {
        arguments.extend(["--initrd".into(), parameter("path", path)]);
    }
    if let Some(port) = config.debug_exit {
        arguments.extend(["--debug-exit".into(), format!("port={port:#x}").into()]);
    }
    if let Some(path) = &config.summary {
        arguments.extend(["--summary".into(), parameter("file", path)]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(flags: &[&str]) -> Result<VmmConfig, Error> {
        let flags: Vec<_> = flags.iter().map(OsString::from).collect();
        parse(
            &flags,
            Path::new("/default,kernel"),
            Path::new("/default initrd"),
        )
    }

    #[test]
    fn defaults() {
        let config = config(&[]).unwrap();
        assert_eq!(config.kernel.path, Path::new("/default,kernel"));
        assert_eq!(config.initrd.as_deref(), Some(Path::new("/default initrd")));
        assert!(config.kernel.cmdline.contains("console=ttyS0"));
        assert!(config.kernel.cmdline.ends_with(" quiet"));
    }

    #[test]
    fn the_users_flags_replace_defaults() {
        let config = config(&[
            "--vcpu",
            "num=2",
            "--kernel=path=/other",
            "--initrd",
            "path=/i",
        ]);
        let config = config.unwrap();
        assert_eq!(config.vcpus.num, 2);
        assert_eq!(config.kernel.path, Path::new("/other"));
        assert_eq!(config.initrd.as_deref(), Some(Path::new("/i")));
    }

    #[test]
    fn a_command_line_alone_keeps_the_kernel() {
        let line = "console=ttyS0,115200 init.run=\"uname -a\" x";
        let value = format!("cmdline=\"{line}\"");
        for flags in [&["--kernel", &value][..], &[&format!("--kernel={value}")]] {
            let config = config(flags).unwrap();
            assert_eq!(config.kernel.path, Path::new("/default,kernel"));
            assert_eq!(config.kernel.cmdline, line);
        }
    }

    #[test]
    fn mistakes_are_the_vmms_to_explain() {
        let error = config(&["--colour", "red"]).unwrap_err().to_string();
        assert!(error.contains("--colour"), "{error}");
        assert!(matches!(config(&["host"]), Err(Error::NotABoot)));
        assert!(matches!(config(&["--help"]), Err(Error::NotABoot)));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for flags in [
            &[][..],
            &[
                "--kernel",
                "path=/a b,cmdline=console=ttyS0,115200 a=\"b c\"",
                "--log",
                "debug",
            ],
            &[
                "--kernel",
                "path=/a,kernel_load_addr=0x200000",
                "--serial",
                "file=/x,y",
            ],
            &[
                "--summary",
                "file=/s",
                "--memory",
                "size_mib=512",
                "--vcpu",
                "num=3",
                "--debug-exit",
                "port=",
            ],
        ] {
            let Ok(config) = config(flags) else { continue };
            let Ok(Command::Run(again)) = parse_words(&to_arguments(&config)) else {
                panic!("{flags:?}");
            };
            assert_eq!(again, config);
        }
    }
}
