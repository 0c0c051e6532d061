// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The disc that bochs boots: ISOLINUX, the kernel and the initramfs.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};

use super::machine::Initrd;
use crate::error::Error;
use crate::process;
use crate::store::Scratch;

/// The boot loader, and the part of it that it loads itself.
pub const ISOLINUX: &str = "/usr/lib/ISOLINUX/isolinux.bin";
pub const LDLINUX: &str = "/usr/lib/syslinux/modules/bios/ldlinux.c32";

/// The program that makes the disc's image.
pub const XORRISO: &str = "xorriso";

/// Makes the disc, in a file that has no name any more.
pub fn make(kernel: &Path, initrd: &Initrd, kernel_line: &str) -> Result<File, Error> {
    let scratch = Scratch::new()?;
    let tree = scratch.path("tree");
    let loader = tree.join("isolinux");
    fs::create_dir_all(&loader).map_err(Error::file("create", &loader))?;
    let initrd = format!("/proc/self/fd/{}", initrd.file.as_raw_fd());
    for (source, name) in [
        (Path::new(ISOLINUX), "isolinux.bin"),
        (Path::new(LDLINUX), "ldlinux.c32"),
        (kernel, "kernel"),
        (Path::new(&initrd), "initrd"),
    ] {
        fs::copy(source, loader.join(name)).map_err(Error::file("read", source))?;
    }
    let path = loader.join("isolinux.cfg");
    fs::write(&path, configuration(kernel_line)).map_err(Error::file("write", &path))?;

    let image = scratch.path("boot.iso");
    let mut command = Command::new(XORRISO);
    command.args(["-as", "mkisofs", "-quiet", "-o"]).arg(&image);
    command.args(["-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat"]);
    command.args(["-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]);
    process::capture(command.arg(&tree).stderr(Stdio::piped()))?;
    File::open(&image).map_err(Error::file("read", &image))
}

/// The boot loader's configuration: the one thing to boot, at once.
fn configuration(kernel_line: &str) -> String {
    format!(
        "DEFAULT lab\nPROMPT 0\nTIMEOUT 0\n\
         LABEL lab\nKERNEL kernel\nINITRD initrd\nAPPEND {kernel_line}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_loader_asks_nothing() {
        let text = configuration("quiet panic=-1");
        assert!(text.contains("\nPROMPT 0\n") && text.ends_with("\nAPPEND quiet panic=-1\n"));
    }
}
