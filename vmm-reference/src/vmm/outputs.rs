// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! An output that names an input, or another output, would destroy it: found out before anything is
//! opened for writing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::VmmError;
use crate::config::{SerialConfig, VmmConfig};

/// Checks that each file that `config` has written is one that it does not name elsewhere.
pub(super) fn check(config: &VmmConfig) -> Result<(), VmmError> {
    let serial = match &config.serial {
        SerialConfig::File(path) => Some(path),
        SerialConfig::Stdio => None,
    };
    let outputs = [("--serial", serial), ("--summary", config.summary.as_ref())];
    let inputs = [
        ("--kernel", Some(&config.kernel.path)),
        ("--initrd", config.initrd.as_ref()),
    ];
    let mut named: Vec<(&'static str, &Path)> = Vec::new();
    for (flag, path) in inputs {
        named.extend(path.map(|path| (flag, path.as_path())));
    }
    for (flag, path) in outputs {
        let Some(path) = path else { continue };
        if let Some((other, _)) = named.iter().find(|(_, other)| are_one_file(path, other)) {
            return Err(VmmError::SameFile {
                path: path.clone(),
                flag,
                other,
            });
        }
        named.push((flag, path));
    }
    Ok(())
}

/// Whether two paths lead to one regular file, or to a place where none is yet. Devices and pipes
/// lose nothing when they are named twice.
fn are_one_file(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => {
            one.is_file() && (one.dev(), one.ino()) == (other.dev(), other.ino())
        }
        (Err(_), Err(_)) => matches!((place(one), place(other)), (Some(a), Some(b)) if a == b),
        _ => false,
    }
}

/// The directory, without links, and the name in it.
fn place(path: &Path) -> Option<PathBuf> {
    let directory = match path.parent()? {
        empty if empty.as_os_str().is_empty() => Path::new("."),
        directory => directory,
    };
    Some(fs::canonicalize(directory).ok()?.join(path.file_name()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use vmm_sys_util::tempdir::TempDir;

    use super::*;

    #[test]
    fn a_file_is_recognized_by_whatever_name() {
        let dir = TempDir::new().unwrap();
        let path = |name: &str| dir.as_path().join(name);
        fs::write(path("kernel"), "k").unwrap();
        fs::hard_link(path("kernel"), path("hard")).unwrap();
        symlink(path("kernel"), path("soft")).unwrap();
        for name in ["kernel", "hard", "soft", "./kernel"] {
            let mut config = VmmConfig::new(path("kernel"));
            config.serial = SerialConfig::File(path(name));
            assert!(
                matches!(
                    check(&config),
                    Err(VmmError::SameFile {
                        flag: "--serial",
                        other: "--kernel",
                        ..
                    })
                ),
                "{name}"
            );
        }
    }

    #[test]
    fn two_outputs_need_two_files_unless_they_are_devices() {
        let dir = TempDir::new().unwrap();
        let path = |name: &str| dir.as_path().join(name);
        let both = |serial: PathBuf, summary: PathBuf| {
            let mut config = VmmConfig::new("/no/kernel");
            config.serial = SerialConfig::File(serial);
            config.summary = Some(summary);
            check(&config)
        };
        assert!(both(path("new"), path("./new")).is_err());
        assert!(both(path("new"), path("newer")).is_ok());
        assert!(both("/dev/null".into(), "/dev/null".into()).is_ok());
        assert!(both("/no/where/a".into(), "/no/where/b".into()).is_ok());
    }
}
