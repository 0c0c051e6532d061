// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What process 1 of the emulated machine has to do: a file in the initramfs.
//!
//! `cargo xtask lab` writes it, process 1 reads it. The form is a list of `key=value` items, each
//! ended by a zero byte, so that arguments and paths keep every other byte.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Where the task lies in the initramfs.
pub const PATH: &str = "/init.task";

/// The machine that a task is done in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Machine {
    /// QEMU's, with an AMD processor. Each [channel](crate::channel) is a virtio-serial port.
    #[default]
    Svm,
    /// Bochs's, with an Intel processor. The channels share an I/O port, in
    /// [frames](crate::frames).
    Vmx,
}

impl Machine {
    /// What it is called, here and on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Svm => "svm",
            Self::Vmx => "vmx",
        }
    }

    fn from_name(name: &OsStr) -> Option<Self> {
        [Self::Svm, Self::Vmx]
            .into_iter()
            .find(|machine| machine.name() == name)
    }
}

/// One task for process 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// Where it is done.
    pub machine: Machine,
    /// Kernel modules, in the order in which they are loaded.
    pub modules: Vec<OsString>,
    /// The command's working directory; the root directory when there is none.
    pub directory: Option<OsString>,
    /// The command's whole environment, `NAME=VALUE` each.
    pub environment: Vec<OsString>,
    /// The command and its arguments.
    pub arguments: Vec<OsString>,
    /// Files to send back when the command has ended, where it wrote them.
    pub collect: Vec<OsString>,
}

/// Why a task could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    item: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PATH}: {:?} is not an item of a task", self.item)
    }
}

impl std::error::Error for Malformed {}

impl Task {
    /// The task as it is stored in the initramfs.
    ///
    /// None of its strings can hold a zero byte: they are arguments, paths and environment
    /// variables, which end at one.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut put = |key: &str, value: &OsStr| {
            bytes.extend_from_slice(key.as_bytes());
            bytes.push(b'=');
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        };
        put("machine", self.machine.name().as_ref());
        let all = [
            ("module", &self.modules),
            ("env", &self.environment),
            ("arg", &self.arguments),
            ("collect", &self.collect),
        ];
        for (key, values) in all {
            values.iter().for_each(|value| put(key, value));
        }
        if let Some(directory) = &self.directory {
            put("dir", directory);
        }
        bytes
    }

    /// Reads a task back.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut task = Self::default();
        for item in bytes.split(|&b| b == 0).filter(|item| !item.is_empty()) {
            let malformed = || Malformed {
                item: String::from_utf8_lossy(item).into_owned(),
            };
            let at = item.iter().position(|&b| b == b'=').ok_or_else(malformed)?;
            let (key, value) = (item.get(..at), item.get(at + 1..).unwrap_or_default());
            let value = OsString::from_vec(value.to_vec());
            match key {
                Some(b"machine") => {
                    task.machine = Machine::from_name(&value).ok_or_else(malformed)?;
                }
                Some(b"module") => task.modules.push(value),
                Some(b"env") => task.environment.push(value),
                Some(b"arg") => task.arguments.push(value),
                Some(b"collect") => task.collect.push(value),
                Some(b"dir") => task.directory = Some(value),
                _ => return Err(malformed()),
            }
        }
        Ok(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_whole() {
        let task = Task {
            machine: Machine::Vmx,
            modules: vec!["/lib/a.ko".into(), "/lib/b.ko nested=1".into()],
            directory: Some("/a dir".into()),
            environment: vec!["PATH=/bin".into(), "EMPTY=".into()],
            arguments: vec!["sh".into(), "-c".into(), "a=b\nc".into(), "".into()],
            collect: vec![OsString::from_vec(vec![b'/', 0xff])],
        };
        assert_eq!(Task::from_bytes(&task.to_bytes()), Ok(task));
    }

    #[test]
    fn an_empty_task_is_a_task() {
        assert_eq!(Task::from_bytes(b""), Ok(Task::default()));
    }

    #[test]
    fn what_is_not_an_item_is_named() {
        for bytes in [&b"arg"[..], b"arg=x\0colour=red\0", b"=x", b"machine=pdp"] {
            let message = Task::from_bytes(bytes).unwrap_err().to_string();
            assert!(message.contains("is not an item"), "{message}");
        }
    }
}
