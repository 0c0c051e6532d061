// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The programs of a guest's user space: our process 1, and busybox.

use std::path::PathBuf;
use std::process::Command;

use crate::error::Error;
use crate::initramfs::Initramfs;
use crate::store::Store;
use crate::workspace::Workspace;
use crate::{debian, process, progress};

/// Where busybox lies in its package and in the machines.
const BUSYBOX: &str = "bin/busybox";

/// Builds process 1: statically linked, for it is alone in the guest.
pub fn build_init(workspace: &Workspace) -> Result<PathBuf, Error> {
    let target = "x86_64-unknown-linux-gnu";
    // Flags for this build alone: with --target they do not touch build scripts, and the setting
    // for one target leaves the user's own RUSTFLAGS be.
    let flags = format!("target.{target}.rustflags=[\"-Ctarget-feature=+crt-static\"]");
    let build = [
        "build",
        "--quiet",
        "--release",
        "--package",
        "guest-init",
        "--target",
        target,
    ];
    workspace.build_one(&[&build[..], &["--config", &flags]].concat(), "guest-init")
}

/// Adds busybox under all its names, where nothing else has them.
pub fn add_busybox(store: &Store, tree: &mut Initramfs) -> Result<(), Error> {
    let package = store.get("busybox", |into| {
        progress::step("fetching busybox-static", || {
            debian::unpack("busybox-static", into)
        })
    })?;
    let busybox = package.join(BUSYBOX);
    tree.add_file(format!("/{BUSYBOX}"), &busybox)?;
    let applets = process::capture(Command::new(&busybox).arg("--list-full"))?;
    for applet in applets.lines().filter(|applet| *applet != BUSYBOX) {
        if !tree.contains(applet) {
            tree.add_link(applet, format!("/{BUSYBOX}").as_ref())?;
        }
    }
    Ok(())
}
