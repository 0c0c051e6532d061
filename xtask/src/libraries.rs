// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The shared libraries that a program loads, asked of its own interpreter.
//!
//! `INTERPRETER --list PROGRAM` is what `ldd` does: the answer covers run paths, `ld.so.cache` and
//! LD_LIBRARY_PATH without a second implementation of them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Error;

/// The files that `program` needs beside itself and its `interpreter`.
pub fn of(program: &Path, interpreter: &str) -> Result<Vec<PathBuf>, Error> {
    let refused = |reason: String| Error::Program {
        program: program.to_owned(),
        reason,
    };
    let output = Command::new(interpreter)
        .arg("--list")
        .arg(program)
        .output()
        .map_err(|error| refused(format!("its interpreter {interpreter}: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(refused(format!(
            "its libraries cannot be listed: {}",
            said.trim()
        )));
    }
    let list = String::from_utf8_lossy(&output.stdout);
    parse(&list).map_err(|missing| refused(format!("its library {missing} is not on this host")))
}

/// Reads the list: `NAME => PATH (ADDRESS)`, `PATH (ADDRESS)`, and names without a path, which the
/// kernel provides. The error is the name of a library that was not found.
fn parse(list: &str) -> Result<Vec<PathBuf>, String> {
    let mut paths = Vec::new();
    for line in list.lines().map(str::trim) {
        let line = line.rsplit_once(" (0x").map_or(line, |(file, _)| file);
        let (name, path) = line.split_once(" => ").unwrap_or((line, line));
        if path.trim() == "not found" {
            return Err(name.to_owned());
        }
        if path.starts_with('/') {
            paths.push(PathBuf::from(path));
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\tlinux-vdso.so.1 (0x00007ffd1a5f2000)\n\
        \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f2c8a200000)\n\
        \tlibodd.so => /opt/with (paren)/libodd.so (0x00007f2c8a200000)\n\
        \t/lib64/ld-linux-x86-64.so.2 (0x00007f2c8a5f5000)\n";

    #[test]
    fn paths_of_a_list() {
        let paths = parse(LIST).unwrap();
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/opt/with (paren)/libodd.so",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(paths, expected.map(PathBuf::from));
    }

    #[test]
    fn a_missing_library_is_named() {
        assert_eq!(parse("\tlibx.so.1 => not found\n"), Err("libx.so.1".into()));
    }

    #[test]
    fn static_programs_need_none() {
        assert_eq!(parse("\tstatically linked\n"), Ok(Vec::new()));
    }

    #[test]
    fn libraries_of_this_test() {
        let program = std::env::current_exe().unwrap();
        let image = std::fs::read(&program).unwrap();
        let Some(crate::elf::Elf::Dynamic(interpreter)) = crate::elf::read(&image) else {
            panic!("a test program is dynamic");
        };
        let libraries = of(&program, &interpreter).unwrap();
        assert!(
            libraries.iter().any(|path| path.ends_with("libc.so.6")),
            "{libraries:?}"
        );
    }
}
