// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The file systems that programs expect.

use std::fs;

use crate::syscalls;

/// Type and mount point, in order: some lie in others.
const MOUNTS: [(&str, &str); 6] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("devpts", "/dev/pts"),
    ("tmpfs", "/dev/shm"),
    ("tmpfs", "/tmp"),
];

/// Mounts them all. One that is missing is told on the console and leaves the others alone.
pub fn mount_all() {
    for (kind, target) in MOUNTS {
        if kind == "tmpfs" && holds_something(target) {
            // The initramfs brings files there, and lies in memory as well.
            continue;
        }
        let mounted = fs::create_dir_all(target).and_then(|()| syscalls::mount(kind, target));
        if let Err(error) = mounted {
            println!("init: cannot mount {kind} on {target}: {error}");
        }
    }
}

fn holds_something(directory: &str) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}
