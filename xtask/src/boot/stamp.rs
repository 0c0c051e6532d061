// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whether a run has written a file, or an earlier one has left it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file as it was before a run.
#[derive(Clone, Debug)]
pub struct Stamp {
    path: PathBuf,
    before: Option<Traits>,
}

/// What changes when a file is replaced or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Traits {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    len: u64,
}

impl Stamp {
    /// Looks at the file, which need not be there.
    pub fn before(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            before: traits(path),
        }
    }

    /// What the run has written, if it has; nothing of what is no regular file, which may not end.
    pub fn written(&self) -> Option<Vec<u8>> {
        let after = traits(&self.path)?;
        (self.before != Some(after)).then(|| fs::read(&self.path).ok())?
    }
}

fn traits(path: &Path) -> Option<Traits> {
    let metadata = fs::metadata(path).ok()?;
    metadata.is_file().then(|| Traits {
        device: metadata.dev(),
        inode: metadata.ino(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        len: metadata.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_written_since_is_read() {
        let path = std::env::temp_dir().join(format!("xtask-stamp-{}", std::process::id()));
        let none = Stamp::before(&path);
        assert_eq!(none.written(), None);
        fs::write(&path, "old").unwrap();
        assert_eq!(none.written().unwrap(), b"old");
        let old = Stamp::before(&path);
        assert_eq!(old.written(), None);
        fs::write(&path, "newer").unwrap();
        assert_eq!(old.written().unwrap(), b"newer");
        fs::remove_file(&path).unwrap();
        assert_eq!(old.written(), None);
        assert_eq!(Stamp::before(Path::new("/dev/zero")).written(), None);
    }
}
