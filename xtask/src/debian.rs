// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Debian packages: installed for the programs and files that must be there, or fetched and unpacked into
//! the target directory for the files in them. Nothing else on the host changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::Error;
use crate::{host, process, progress};

/// A program by its name, or a file by its whole path, and the package that holds it.
pub type Needed = (&'static str, &'static str);

/// Makes sure that programs and files are there: installs their packages when we are root, and says
/// which command to run otherwise.
pub fn ensure(needed: &[Needed]) -> Result<(), Error> {
    let missing = || needed.iter().filter(|(name, _)| !is_there(name));
    let mut packages: Vec<_> = missing().map(|(_, package)| *package).collect();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    need_apt("apt-get")?;
    let names = |names: Vec<&str>| names.join(", ");
    if !host::is_root() {
        let (is, packages) = (
            if missing().count() == 1 { "is" } else { "are" },
            packages.join(" "),
        );
        let missing = format!("{} {is}", names(missing().map(|(name, _)| *name).collect()));
        return Err(Error::PackagesMissing { missing, packages });
    }
    progress::step(
        &format!("installing {} with apt-get", packages.join(", ")),
        || {
            with_update("install", &packages.join(" "), || {
                let mut command = apt("apt-get");
                command
                    .args(["install", "--yes", "--no-install-recommends"])
                    .args(&packages);
                process::capture(&mut command).map(drop)
            })
        },
    )
}

fn is_there(name: &str) -> bool {
    if name.starts_with('/') {
        Path::new(name).is_file()
    } else {
        host::find_program(name).is_some()
    }
}

/// Fetches `package` and unpacks it into the directory `into`, which is made.
pub fn unpack(package: &str, into: &Path) -> Result<(), Error> {
    need_apt("apt-get")?;
    fs::create_dir_all(into).map_err(Error::file("create", into))?;
    with_update("download", package, || {
        let mut command = apt("apt-get");
        // Its own unprivileged user could not write into our directory.
        command
            .args(["-o", "APT::Sandbox::User=root", "download", package])
            .current_dir(into);
        process::capture(&mut command).map(drop)
    })?;
    let archive = find(into, |name| name.ends_with(".deb"))?;
    let archive = archive.ok_or_else(|| Error::PackageContents {
        package: into.to_owned(),
        what: "package archive".to_owned(),
    })?;
    let mut command = Command::new("dpkg-deb");
    command
        .arg("--extract")
        .arg(&archive)
        .arg(into)
        .stderr(Stdio::piped());
    process::capture(&mut command)?;
    fs::remove_file(&archive).map_err(Error::file("remove", &archive))
}

/// The package that `package` depends on whose name begins with `prefix`: how Debian names the
/// current version of a thing.
pub fn dependency(package: &str, prefix: &str) -> Result<String, Error> {
    need_apt("apt-cache")?;
    let mut found = None;
    with_update("look up", package, || {
        let mut command = apt("apt-cache");
        command.args(["depends", package]);
        let output = process::capture(&mut command)?;
        found = parse_dependency(&output, prefix);
        if found.is_some() {
            return Ok(());
        }
        let reason = format!("no dependency that begins with {prefix}");
        Err(Error::Output {
            command: process::describe(&command),
            reason,
        })
    })?;
    Ok(found.unwrap_or_default())
}

/// The first entry of `directory` whose name is the one looked for.
pub fn find(
    directory: &Path,
    mut wanted: impl FnMut(&str) -> bool,
) -> Result<Option<PathBuf>, Error> {
    let entries = fs::read_dir(directory).map_err(Error::file("read", directory))?;
    let mut paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    Ok(paths.find(|path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(&mut wanted)
    }))
}

/// Does `action`; when it fails, as it does where the package lists are missing or old, refreshes
/// the lists and tries once more.
fn with_update(
    what: &'static str,
    packages: &str,
    mut action: impl FnMut() -> Result<(), Error>,
) -> Result<(), Error> {
    let first = match action() {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    let failed = |error: Error| Error::Apt {
        action: what,
        packages: packages.to_owned(),
        reason: match error {
            Error::Failed { details, .. } => details.trim_start_matches(": ").to_owned(),
            other => other.to_string(),
        },
    };
    if !host::is_root() {
        return Err(failed(first));
    }
    progress::step("refreshing the package lists with apt-get update", || {
        process::capture(apt("apt-get").arg("update"))
    })
    .map_err(failed)?;
    action().map_err(failed)
}

/// An apt command that asks nothing, says why it fails in English, and gives up on a server that
/// does not answer.
fn apt(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C")
        .stderr(Stdio::piped());
    for option in ["Retries=1", "http::Timeout=20", "https::Timeout=20"] {
        command.args(["-o", &format!("Acquire::{option}")]);
    }
    command.args(["-o", "DPkg::Lock::Timeout=300"]);
    command
}

fn need_apt(program: &'static str) -> Result<(), Error> {
    host::find_program(program)
        .map(drop)
        .ok_or(Error::NoApt(program))
}

/// Reads the output of `apt-cache depends`.
fn parse_dependency(output: &str, prefix: &str) -> Option<String> {
    let names = output
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    names
        .map(str::trim)
        .find(|name| name.starts_with(prefix))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_kernel() {
        let output = "linux-image-cloud-amd64\n  Depends: linux-base\n  \
                      Depends: linux-image-6.1.0-56-cloud-amd64\n";
        let found = parse_dependency(output, "linux-image-6");
        assert_eq!(found.as_deref(), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(
            parse_dependency("N: Unable to locate package\n", "linux-image"),
            None
        );
    }

    #[test]
    fn what_is_there_needs_nothing() {
        ensure(&[("sh", "dash"), ("/etc/passwd", "base-passwd")]).unwrap();
        assert!(!is_there("no-such-program") && !is_there("/no/such/file"));
        // A directory is neither.
        assert!(!is_there("/etc"));
    }

    #[test]
    fn a_failure_says_what_apt_said_and_what_to_do() {
        let error = Error::Apt {
            action: "download",
            packages: "busybox-static".into(),
            reason: "E: Failed to fetch http://mirror/b.deb  Connection failed".into(),
        };
        let message = error.to_string();
        assert!(
            message.contains("download busybox-static: E: Failed to fetch"),
            "{message}"
        );
        assert!(message.ends_with("apt-get update"), "{message}");
    }
}
