// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Why a guest can't be prepared for its first instruction.

use std::path::PathBuf;

use linux_loader::{cmdline, configurator, loader};
use thiserror::Error;

use crate::initrd::InitrdError;
use crate::kernel::KernelError;

/// A guest that can't be started. Each message is one line that names the file or the value.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BootError {
    /// The kernel can't be booted.
    #[error("the kernel {path:?} {reason}")]
    Kernel {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        reason: KernelError,
    },
    /// The initrd can't be loaded.
    #[error("the initrd {path:?} {reason}")]
    Initrd {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        reason: InitrdError,
    },
    /// The kernel would cut its command line off.
    #[error("the kernel command line has {len} bytes and this kernel reads {max}; shorten it")]
    CmdlineTooLong {
        /// Its length.
        len: usize,
        /// The kernel's limit.
        max: usize,
    },
    /// The command line can't be passed on.
    #[error("the kernel command line: {0}")]
    Cmdline(cmdline::Error),
    /// Guest memory has no room for the command line.
    #[error("the kernel command line can't be written to guest memory: {0}")]
    WriteCmdline(loader::Error),
    /// Guest memory has no room for the boot parameters.
    #[error("the boot parameters can't be written to guest memory: {0}")]
    BootParams(#[from] configurator::Error),
    /// Guest memory has no room for tables.
    #[error("the {what} can't be written to guest memory: {reason}")]
    Tables {
        /// Which.
        what: &'static str,
        /// Why.
        reason: vm_memory::GuestMemoryError,
    },
}
