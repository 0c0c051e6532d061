// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Puts the host's programs into an initramfs so that they run there: with their interpreters and
//! shared libraries, at the same paths.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{self, Path, PathBuf};

use crate::elf::{self, Elf};
use crate::error::Error;
use crate::initramfs::Initramfs;
use crate::{host, libraries};

/// Where the contents of `--dir` lie in the machine.
pub const DIRECTORY: &str = "/lab";

/// How many interpreters may stand behind one another, as in the kernel.
const MAX_INTERPRETERS: usize = 4;

/// Finds what `name` means: a path in `directory` or on the host, else a program in PATH. Returns
/// the path on the host and the path in the machine.
pub fn find(name: &OsStr, directory: Option<&Path>) -> Option<(PathBuf, PathBuf)> {
    if let Some(directory) = directory {
        let source = directory.join(name);
        if Path::new(name).is_relative() && source.is_file() {
            return Some((source, Path::new(DIRECTORY).join(name)));
        }
    }
    let source = if name.as_bytes().contains(&b'/') {
        path::absolute(name).ok().filter(|path| path.is_file())?
    } else {
        host::find_program(name)?
    };
    Some((source.clone(), source))
}

/// Adds the host's program `source` at `path`, and what it needs to be executed.
pub fn add_program(tree: &mut Initramfs, path: &Path, source: &Path) -> Result<(), Error> {
    let refused = |reason: String| Error::Program {
        program: source.to_owned(),
        reason,
    };
    if !host::is_executable(source) {
        return Err(refused("it is not executable".to_owned()));
    }
    tree.add_file(path, source)?;
    add_needs(tree, source, MAX_INTERPRETERS)
}

/// Adds the host's program `source` at its own path, unless that is taken.
fn add_interpreter(tree: &mut Initramfs, source: &Path, depth: usize) -> Result<(), Error> {
    if !tree.contains(source) {
        tree.add_file(source, source)?;
    }
    add_needs(tree, source, depth)
}

/// Adds what `program` needs to be executed.
fn add_needs(tree: &mut Initramfs, program: &Path, depth: usize) -> Result<(), Error> {
    let refused = |reason: &str| Error::Program {
        program: program.to_owned(),
        reason: reason.to_owned(),
    };
    let depth = depth
        .checked_sub(1)
        .ok_or_else(|| refused("too many interpreters"))?;
    let image = fs::read(program).map_err(Error::file("read", program))?;
    if let Some(interpreter) = script_interpreter(&image) {
        return add_interpreter(tree, interpreter, depth);
    }
    match elf::read(&image) {
        Some(Elf::Static) => Ok(()),
        Some(Elf::Foreign) => Err(refused("it is for another machine than x86-64")),
        None => Err(refused(
            "it is neither an ELF program nor a script that begins with #!",
        )),
        Some(Elf::Dynamic(interpreter)) => {
            let libraries = libraries::of(program, &interpreter)?;
            for file in [PathBuf::from(interpreter)].into_iter().chain(libraries) {
                if !tree.contains(&file) {
                    tree.add_file(&file, &file)?;
                }
            }
            // The interpreter finds libraries in unusual places through it.
            let cache = Path::new("/etc/ld.so.cache");
            if cache.exists() && !tree.contains(cache) {
                tree.add_file(cache, cache)?;
            }
            Ok(())
        }
    }
}

/// Adds what is in `directory` at [`DIRECTORY`], and what the programs among it need.
pub fn add_directory(tree: &mut Initramfs, directory: &Path) -> Result<(), Error> {
    add_tree(tree, Path::new(DIRECTORY), directory)
}

fn add_tree(tree: &mut Initramfs, path: &Path, source: &Path) -> Result<(), Error> {
    tree.add_directory(path)?;
    for entry in fs::read_dir(source).map_err(Error::file("read", source))? {
        let entry = entry.map_err(Error::file("read", source))?;
        let (source, path) = (entry.path(), path.join(entry.file_name()));
        let kind = entry.file_type().map_err(Error::file("read", &source))?;
        if kind.is_dir() {
            add_tree(tree, &path, &source)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&source).map_err(Error::file("read", &source))?;
            tree.add_link(&path, &target)?;
        } else if kind.is_file() {
            tree.add_file(&path, &source)?;
            if host::is_executable(&source) {
                // What cannot be executed here cannot there; that matters once it is tried.
                let _ = add_needs(tree, &source, MAX_INTERPRETERS);
            }
        }
        // Sockets, pipes and devices mean nothing in another machine.
    }
    Ok(())
}

/// The interpreter that a script names in its first line.
fn script_interpreter(image: &[u8]) -> Option<&Path> {
    let line = image
        .strip_prefix(b"#!")?
        .split(|&b| b == b'\n')
        .next()?
        .trim_ascii();
    let word = line.split(|b| b.is_ascii_whitespace()).next()?;
    (!word.is_empty()).then(|| Path::new(OsStr::from_bytes(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts() {
        assert_eq!(
            script_interpreter(b"#!/bin/sh\necho"),
            Some(Path::new("/bin/sh"))
        );
        assert_eq!(
            script_interpreter(b"#! /usr/bin/env -S bash"),
            Some(Path::new("/usr/bin/env"))
        );
        assert_eq!(script_interpreter(b"#!\n"), None);
        assert_eq!(script_interpreter(b"\x7fELF"), None);
    }

    #[test]
    fn commands_are_found() {
        let (source, path) = find("sh".as_ref(), None).unwrap();
        assert!(source.ends_with("sh") && source == path);
        assert_eq!(
            find("/bin/sh".as_ref(), None).unwrap().1,
            Path::new("/bin/sh")
        );
        assert_eq!(find("no-such-program".as_ref(), None), None);
        assert_eq!(find("./no-such-program".as_ref(), None), None);
        // A file of the directory comes first.
        let found = find("passwd".as_ref(), Some(Path::new("/etc"))).unwrap();
        assert_eq!(found, ("/etc/passwd".into(), "/lab/passwd".into()));
        // An absolute path is the host's.
        let found = find("/bin/sh".as_ref(), Some(Path::new("/etc"))).unwrap();
        assert_eq!(found.1, Path::new("/bin/sh"));
    }

    #[test]
    fn a_dynamic_program_brings_its_loader() {
        let mut tree = Initramfs::new();
        let program = std::env::current_exe().unwrap();
        add_program(&mut tree, Path::new("/test"), &program).unwrap();
        assert!(tree.contains("/test") && tree.contains("/lib64/ld-linux-x86-64.so.2"));
    }

    #[test]
    fn what_cannot_run_is_refused() {
        let mut tree = Initramfs::new();
        let refusal = |tree: &mut Initramfs, path: &str| {
            add_program(tree, Path::new(path), Path::new(path)).unwrap_err()
        };
        let error = refusal(&mut tree, "/etc/passwd");
        assert_eq!(error.status(), 126);
        assert!(
            error.to_string().ends_with("it is not executable"),
            "{error}"
        );
    }
}
