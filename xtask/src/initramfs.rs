// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! An initramfs: a tree of files, written as a `newc` archive.
//!
//! As in Debian, `/bin`, `/sbin`, `/lib` and `/lib64` are links into `/usr`, so that a program is
//! found under both of its names.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use cpio::newc::{self, ModeFileType};

use crate::error::Error;

/// What a path of the tree is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Directory,
    File { contents: Contents, mode: u32 },
    Link { target: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Contents {
    Bytes(Vec<u8>),
    /// Read when the archive is written.
    Host(PathBuf),
}

/// A tree of files.
#[derive(Clone, Debug)]
pub struct Initramfs {
    /// By path without a leading slash; a directory sorts before what is in it.
    nodes: BTreeMap<String, Node>,
}

/// The directories that are links into `/usr`.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

impl Initramfs {
    /// The empty tree: the links into `/usr` and what they point to.
    pub fn new() -> Self {
        let mut tree = Self {
            nodes: BTreeMap::new(),
        };
        for name in MERGED {
            tree.nodes.insert(
                name.to_owned(),
                Node::Link {
                    target: format!("usr/{name}"),
                },
            );
            tree.add_parents(&format!("usr/{name}/x"));
        }
        tree
    }

    /// Adds a file with these contents.
    pub fn add_bytes(
        &mut self,
        path: impl AsRef<Path>,
        bytes: impl Into<Vec<u8>>,
    ) -> Result<(), Error> {
        let contents = Contents::Bytes(bytes.into());
        self.add(
            path.as_ref(),
            Node::File {
                contents,
                mode: 0o644,
            },
        )
    }

    /// Adds the host's file `source` with its permissions.
    pub fn add_file(&mut self, path: impl AsRef<Path>, source: &Path) -> Result<(), Error> {
        let metadata = fs::metadata(source).map_err(Error::file("read", source))?;
        let mode = metadata.permissions().mode() & 0o7777;
        self.add(
            path.as_ref(),
            Node::File {
                contents: Contents::Host(source.to_owned()),
                mode,
            },
        )
    }

    /// Adds a symbolic link.
    pub fn add_link(&mut self, path: impl AsRef<Path>, target: &Path) -> Result<(), Error> {
        let target = utf8(target)?.to_owned();
        self.add(path.as_ref(), Node::Link { target })
    }

    /// Adds an empty directory.
    pub fn add_directory(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        self.add(path.as_ref(), Node::Directory)
    }

    /// Whether there is something at this path.
    pub fn contains(&self, path: impl AsRef<Path>) -> bool {
        archive_name(path.as_ref()).is_ok_and(|name| self.nodes.contains_key(&name))
    }

    fn add(&mut self, path: &Path, node: Node) -> Result<(), Error> {
        let name = archive_name(path)?;
        self.add_parents(&name);
        self.nodes.insert(name, node);
        Ok(())
    }

    fn add_parents(&mut self, name: &str) {
        for (at, _) in name.match_indices('/') {
            let parent = name.get(..at).unwrap_or_default().to_owned();
            self.nodes.entry(parent).or_insert(Node::Directory);
        }
    }

    /// Writes the archive and returns its size.
    pub fn write_to(&self, mut writer: impl Write) -> Result<u64, Error> {
        let unwritten = Error::file("write", "the initramfs");
        let mut size = 0;
        for (inode, (name, node)) in (1..).zip(&self.nodes) {
            let (kind, mode, bytes) = match node {
                Node::Directory => (ModeFileType::Directory, 0o755, Vec::new()),
                Node::Link { target } => (ModeFileType::Symlink, 0o777, target.clone().into()),
                Node::File {
                    contents: Contents::Bytes(bytes),
                    mode,
                } => (ModeFileType::Regular, *mode, bytes.clone()),
                Node::File {
                    contents: Contents::Host(path),
                    mode,
                } => {
                    let bytes = fs::read(path).map_err(Error::file("read", path))?;
                    (ModeFileType::Regular, *mode, bytes)
                }
            };
            let length = u32::try_from(bytes.len()).map_err(|_| {
                // The archive's size fields have eight hexadecimal digits.
                let reason = io::Error::new(io::ErrorKind::FileTooLarge, "4 GiB or more");
                Error::file("pack", name)(reason)
            })?;
            let entry = newc::Builder::new(name)
                .ino(inode)
                .mode(mode)
                .set_mode_file_type(kind);
            let written = (|| {
                let mut entry = entry.write(&mut writer, length);
                entry.write_all(&bytes)?;
                entry.finish().map(drop)
            })();
            written.map_err(Error::file("write", "the initramfs"))?;
            size += u64::from(length) + 128;
        }
        newc::trailer(&mut writer)
            .and_then(|writer| writer.flush())
            .map_err(unwritten)?;
        Ok(size)
    }
}

/// The name of a path in the archive: no leading slash, no dots, and through the links into
/// `/usr`.
fn archive_name(path: &Path) -> Result<String, Error> {
    let mut parts: Vec<&str> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(utf8(Path::new(part))?),
            Component::ParentDir => drop(parts.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if parts.len() > 1 && parts.first().is_some_and(|first| MERGED.contains(first)) {
        parts.insert(0, "usr");
    }
    Ok(parts.join("/"))
}

fn utf8(path: &Path) -> Result<&str, Error> {
    path.to_str().ok_or_else(|| {
        let reason = io::Error::new(io::ErrorKind::InvalidFilename, "its name is not UTF-8");
        Error::file("pack", path)(reason)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// Name, mode and contents of each entry of an archive.
    fn unpack(mut archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        loop {
            let mut reader = newc::Reader::new(archive).unwrap();
            if reader.entry().is_trailer() {
                return entries;
            }
            let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
            let mut contents = Vec::new();
            reader.read_to_end(&mut contents).unwrap();
            entries.push((name, mode, contents));
            archive = reader.finish().unwrap();
        }
    }

    fn archive(tree: &Initramfs) -> Vec<(String, u32, Vec<u8>)> {
        let mut bytes = Vec::new();
        tree.write_to(&mut bytes).unwrap();
        unpack(&bytes)
    }

    #[test]
    fn the_empty_tree() {
        let names: Vec<_> = archive(&Initramfs::new())
            .into_iter()
            .map(|(name, ..)| name)
            .collect();
        let expected = [
            "bin",
            "lib",
            "lib64",
            "sbin",
            "usr",
            "usr/bin",
            "usr/lib",
            "usr/lib64",
            "usr/sbin",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn files_directories_and_links() {
        let mut tree = Initramfs::new();
        tree.add_bytes("/init.task", "x=y").unwrap();
        tree.add_file("/bin/sh", Path::new("/bin/sh")).unwrap();
        tree.add_link("/home/link", Path::new("../bin/sh")).unwrap();
        tree.add_directory("/home/empty").unwrap();
        let entries = archive(&tree);
        let find = |name: &str| {
            let entry = entries.iter().find(|entry| entry.0 == name).unwrap();
            (entry.1, entry.2.clone())
        };
        assert_eq!(find("init.task"), (0o100644, b"x=y".to_vec()));
        assert_eq!(find("usr/bin/sh"), (0o100755, fs::read("/bin/sh").unwrap()));
        assert_eq!(find("home/link"), (0o120777, b"../bin/sh".to_vec()));
        assert_eq!(find("home/empty").0, 0o040755);
        assert_eq!(find("home").0, 0o040755);
    }

    #[test]
    fn a_directory_comes_before_its_contents() {
        let mut tree = Initramfs::new();
        for path in ["/a/b/c", "/a-b/c", "/a.b", "/a/b-c/d"] {
            tree.add_bytes(path, "").unwrap();
        }
        let names: Vec<_> = archive(&tree).into_iter().map(|(name, ..)| name).collect();
        for (at, name) in names.iter().enumerate() {
            if let Some((parent, _)) = name.rsplit_once('/') {
                assert!(
                    names[..at].iter().any(|earlier| earlier == parent),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn names() {
        let name = |path: &str| archive_name(Path::new(path)).unwrap();
        assert_eq!(
            name("/lib/x86_64-linux-gnu/libc.so.6"),
            "usr/lib/x86_64-linux-gnu/libc.so.6"
        );
        assert_eq!(name("/usr/lib/a"), "usr/lib/a");
        assert_eq!(name("/opt/./a/../b"), "opt/b");
        assert_eq!(name("/libexec/a"), "libexec/a");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Initramfs::new()
            .add_file("/x", Path::new("/no/such/file"))
            .unwrap_err();
        assert!(
            error.to_string().starts_with("cannot read /no/such/file: "),
            "{error}"
        );
    }
}
