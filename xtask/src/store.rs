// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is fetched or made once and used again: whole or not there.
//!
//! A file or directory is made under a temporary name beside its place and renamed when it is
//! complete. One lock keeps two of us from fetching the same thing; a name that begins with
//! `tmp-` was left by one that was killed, and the next holder of the lock removes it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::Error;
use crate::progress;

/// The directory under cargo's target directory that holds it all.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    _lock: File,
}

impl Store {
    /// Opens the store below `target`, alone: waits for another of us to be done with it.
    pub fn open(target: &Path) -> Result<Self, Error> {
        let root = target.join("xtask");
        fs::create_dir_all(&root).map_err(Error::file("create", &root))?;
        let path = root.join("lock");
        let lock = File::create(&path).map_err(Error::file("create", &path))?;
        if !flock(&lock, libc::LOCK_EX | libc::LOCK_NB).map_err(Error::file("lock", &path))? {
            progress::say(&format!(
                "waiting for another `cargo xtask` to release {}",
                path.display()
            ));
            flock(&lock, libc::LOCK_EX).map_err(Error::file("lock", &path))?;
        }
        let store = Self { root, _lock: lock };
        store.remove_leftovers();
        Ok(store)
    }

    /// Returns the path of `name`, which `make` makes if it is not there yet. `make` gets the
    /// temporary path where it has to put the file or directory.
    pub fn get(
        &self,
        name: &str,
        make: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<PathBuf, Error> {
        let path = self.root.join(name);
        if path.exists() {
            return Ok(path);
        }
        self.replace(name, make)
    }

    /// Makes `name` anew, in place of an older one.
    pub fn replace(
        &self,
        name: &str,
        make: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<PathBuf, Error> {
        let (path, temporary) = (self.root.join(name), self.root.join(format!("tmp-{name}")));
        make(&temporary).inspect_err(|_| remove(&temporary))?;
        fs::rename(&temporary, &path).map_err(Error::file("write", &path))?;
        Ok(path)
    }

    fn remove_leftovers(&self) {
        let entries = fs::read_dir(&self.root)
            .into_iter()
            .flatten()
            .filter_map(Result::ok);
        for entry in entries {
            if entry.file_name().as_encoded_bytes().starts_with(b"tmp-") {
                remove(&entry.path());
            }
        }
    }
}

/// Removes a file or a directory with all that is in it. What stays is overwritten or reported by
/// who uses the name next.
fn remove(path: &Path) {
    let _ = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
}

/// Locks a file. False when someone else has it and waiting was not asked for.
fn flock(file: &File, operation: i32) -> io::Result<bool> {
    loop {
        // SAFETY: the descriptor is open; no memory is touched.
        if unsafe { libc::flock(file.as_raw_fd(), operation) } == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::WouldBlock => return Ok(false),
            io::ErrorKind::Interrupted => {}
            _ => return Err(error),
        }
    }
}

/// A directory for files that are needed once, removed when it is dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new directory, which only this user can enter.
    pub fn new() -> Result<Self, Error> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (pid, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("xtask-{pid}-{count}"));
        let created = DirBuilder::new().mode(0o700).create(&path);
        created
            .map_err(Error::file("create", &path))
            .map(|()| Self(path))
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once() {
        let scratch = Scratch::new().unwrap();
        let store = Store::open(&scratch.0).unwrap();
        let make = |path: &Path| fs::write(path, "x").map_err(Error::file("write", path));
        let path = store.get("thing", make).unwrap();
        let again = store.get("thing", |_| panic!("it is there")).unwrap();
        assert_eq!(path, again);
        assert_eq!(fs::read(path).unwrap(), b"x");
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let scratch = Scratch::new().unwrap();
        let store = Store::open(&scratch.0).unwrap();
        let failed = store.get("thing", |path| {
            fs::create_dir(path).unwrap();
            fs::write(path.join("half"), "x").unwrap();
            Err(Error::Interrupted(2))
        });
        assert!(matches!(failed, Err(Error::Interrupted(2))));
        let left: Vec<_> = fs::read_dir(&store.root)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(left, ["lock"]);
    }

    #[test]
    fn leftovers_of_the_killed_are_removed() {
        let scratch = Scratch::new().unwrap();
        let half = scratch.0.join("xtask/tmp-thing");
        fs::create_dir_all(&half).unwrap();
        fs::write(half.join("half"), "x").unwrap();
        Store::open(&scratch.0).unwrap();
        assert!(!half.exists());
    }

    #[test]
    fn one_at_a_time() {
        let scratch = Scratch::new().unwrap();
        let store = Store::open(&scratch.0).unwrap();
        let other = File::open(store.root.join("lock")).unwrap();
        assert!(!flock(&other, libc::LOCK_EX | libc::LOCK_NB).unwrap());
        drop(store);
        assert!(flock(&other, libc::LOCK_EX | libc::LOCK_NB).unwrap());
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named() {
        let message = Store::open(Path::new("/proc/nowhere"))
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with("cannot create /proc/nowhere/xtask: "),
            "{message}"
        );
    }
}
