// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A file that is written at the end of a run: whole, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::output_path;

/// Finds out whether `path` can be written to. Changes nothing.
pub(super) fn check(path: &Path) -> io::Result<()> {
    match Target::of(path) {
        // To open it and close it again would be the end of the file for its reader.
        Target::Pipe => Ok(()),
        Target::InPlace => open_in_place(path).map(drop),
        Target::Replaced => temporary_beside(path).and_then(|temporary| {
            File::create_new(&temporary)?;
            fs::remove_file(&temporary)
        }),
    }
}

/// How a path is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// A file, or nothing yet: a new one takes its place.
    Replaced,
    /// A device, a link (`/dev/stdout`): it must stay what it is.
    InPlace,
    /// A pipe: the same, and opening it means something to its reader.
    Pipe,
}

impl Target {
    fn of(path: &Path) -> Self {
        match fs::symlink_metadata(path) {
            Ok(_) if fs::metadata(path).is_ok_and(|end| end.file_type().is_fifo()) => Self::Pipe,
            Ok(found) if !found.is_file() => Self::InPlace,
            _ => Self::Replaced,
        }
    }
}

fn open_in_place(path: &Path) -> io::Result<File> {
    output_path::open(path, OpenOptions::new().append(true))
}

/// Writes `text`, so that a file is there whole or as before.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    if Target::of(path) != Target::Replaced {
        let mut file = open_in_place(path)?;
        // A link may lead to a file with something older in it; but /dev/stdout to the guest's own
        // output, which stays.
        if fs::metadata(path)?.is_file() && !path.starts_with("/dev") {
            file.set_len(0)?;
        }
        return file.write_all(text.as_bytes());
    }
    let temporary = temporary_beside(path)?;
    let result = File::create_new(&temporary).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        fs::rename(&temporary, path)
    });
    if result.is_err() {
        // It may not even have been made.
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// In the same directory, so that renaming replaces in one step.
fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
    let mut temporary = name.to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    Ok(path.with_file_name(temporary))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use vmm_sys_util::tempdir::TempDir;

    use super::*;

    const TEXT: &str = "new\n";

    #[test]
    fn a_file_is_replaced_and_nothing_else_left() {
        let dir = TempDir::new().unwrap();
        let path = dir.as_path().join("file");
        fs::write(&path, "older").unwrap();
        check(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "older");
        write(&path, TEXT).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
        assert_eq!(fs::read_dir(dir.as_path()).unwrap().count(), 1);
    }

    #[test]
    fn a_path_that_cannot_be_written_is_found_out() {
        let dir = TempDir::new().unwrap();
        assert!(check(dir.as_path()).is_err());
        assert!(check(&dir.as_path().join("no/such/file")).is_err());
        assert!(check(Path::new("/")).is_err());
    }

    #[test]
    fn what_is_no_file_is_written_to_and_not_replaced() {
        let dir = TempDir::new().unwrap();
        let (file, link) = (dir.as_path().join("file"), dir.as_path().join("link"));
        fs::write(&file, "older and longer").unwrap();
        symlink(&file, &link).unwrap();
        check(&link).unwrap();
        write(&link, TEXT).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), TEXT);

        let null = dir.as_path().join("null");
        symlink("/dev/null", &null).unwrap();
        check(&null).unwrap();
        write(&null, TEXT).unwrap();
        assert_eq!(Target::of(Path::new("/dev/null")), Target::InPlace);
    }
}
