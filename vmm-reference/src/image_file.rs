// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Opening a file that is named on the command line, a kernel or an initrd, without surprises:
//! opening a FIFO does not wait for its other end, a directory or a device is refused.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use thiserror::Error;

/// Why a file can't be used. A message begins where "the file …" left off.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// It can't be opened or read.
    #[error("can't be read: {0}")]
    Io(#[from] io::Error),
    /// It is a directory.
    #[error("is a directory; name a file")]
    Directory,
    /// It is a FIFO, a socket or a device.
    #[error("is not a regular file; copy it into one")]
    NotRegular,
    /// Nothing is in it.
    #[error("is empty")]
    Empty,
    /// It is larger than can make sense.
    #[error("has {len} bytes, more than the {max} that are allowed")]
    TooLarge {
        /// Its length.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// It became shorter while it was read.
    #[error("became shorter while it was read")]
    Shrank,
}

/// How much of a file tells what it is: a multiboot header may be anywhere in it.
const HEAD_LEN: u64 = 8192;

/// A regular file and its length, which is not 0.
pub(crate) fn open(path: &Path) -> Result<(File, u64), FileError> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(FileError::Directory);
    }
    if !metadata.is_file() {
        return Err(FileError::NotRegular);
    }
    match metadata.len() {
        0 => Err(FileError::Empty),
        len => Ok((file, len)),
    }
}

/// The whole file, when it has at most `max` bytes and `accept` takes its first bytes (up to
/// [`HEAD_LEN`]) for what it should be. So a large file of something else is not read.
pub(crate) fn read<E: From<FileError>>(
    path: &Path,
    max: u64,
    accept: impl FnOnce(&[u8]) -> Result<(), E>,
) -> Result<Vec<u8>, E> {
    let (file, len) = open(path)?;
    if len > max {
        return Err(FileError::TooLarge { len, max }.into());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
    read_up_to(len.min(HEAD_LEN), &file, &mut bytes)?;
    accept(&bytes)?;
    read_up_to(len, &file, &mut bytes)?;
    Ok(bytes)
}

fn read_up_to(end: u64, file: &File, bytes: &mut Vec<u8>) -> Result<(), FileError> {
    file.take(end - bytes.len() as u64).read_to_end(bytes)?;
    if bytes.len() as u64 == end {
        Ok(())
    } else {
        Err(FileError::Shrank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmm_sys_util::tempdir::TempDir;
    use vmm_sys_util::tempfile::TempFile;

    #[test]
    fn only_a_regular_file_with_content_is_opened() {
        let dir = TempDir::new().unwrap();
        let file = dir.as_path().join("file");
        let fifo = dir.as_path().join("fifo");
        std::fs::write(&file, b"").unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap();
        assert!(made.success());

        assert!(matches!(
            open(&dir.as_path().join("none")),
            Err(FileError::Io(_))
        ));
        assert!(matches!(open(dir.as_path()), Err(FileError::Directory)));
        assert!(matches!(open(&fifo), Err(FileError::NotRegular)));
        assert!(matches!(
            open(Path::new("/dev/zero")),
            Err(FileError::NotRegular)
        ));
        assert!(matches!(open(&file), Err(FileError::Empty)));
        std::fs::write(&file, b"abc").unwrap();
        let read = |max| read(&file, max, |_| Ok::<_, FileError>(()));
        assert_eq!(read(3).unwrap(), b"abc");
        assert!(matches!(
            read(2),
            Err(FileError::TooLarge { len: 3, max: 2 })
        ));
    }

    #[test]
    fn a_large_file_is_read_when_its_head_is_accepted() {
        let file = TempFile::new().unwrap();
        let bytes = vec![7; 3 * HEAD_LEN as usize];
        std::fs::write(file.as_path(), &bytes).unwrap();
        let accepted = read(file.as_path(), u64::MAX, |head| {
            assert_eq!(head.len() as u64, HEAD_LEN);
            Ok::<_, FileError>(())
        });
        assert!(accepted.unwrap() == bytes);
        let refused = read(file.as_path(), u64::MAX, |_| Err(FileError::Empty));
        assert!(matches!(refused, Err(FileError::Empty)));
    }
}
