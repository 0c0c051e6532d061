// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Writes the guest's images into a directory: `guest-l1 DIRECTORY`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use guest_l1::{Mode, elf, image, rom};

const USAGE: &str = "usage: guest-l1 DIRECTORY (writes l1.elf, a kernel for a VMM, and l1.rom, \
                     firmware for a bare machine)";

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let (Some(directory), None) = (arguments.next(), arguments.next()) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match write(Path::new(&directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guest-l1: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Why an image was not written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
struct WriteError {
    path: PathBuf,
    source: std::io::Error,
}

fn write(directory: &Path) -> Result<(), WriteError> {
    let at = |path: &Path| {
        let path = path.to_path_buf();
        move |source| WriteError { path, source }
    };
    fs::create_dir_all(directory).map_err(at(directory))?;
    let image = image(Mode::Scenarios);
    for (name, bytes) in [("l1.elf", elf(&image)), ("l1.rom", rom(&image))] {
        let path = directory.join(name);
        fs::write(&path, bytes).map_err(at(&path))?;
    }
    Ok(())
}
