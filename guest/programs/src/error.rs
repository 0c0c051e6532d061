// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What can fail.

use thiserror::Error;
use vm_memory::GuestMemoryError;
use vm_memory::mmap::FromRangesError;

/// Why a guest could not be loaded, set up or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The guest's memory ends before [`SIZE`](crate::SIZE), or a stack pointer leads out of it.
    #[error("guest memory at {address:#x}: {source}; the guest needs its first 128 KiB")]
    Memory {
        /// The guest physical address.
        address: u64,
        /// What vm-memory says.
        source: GuestMemoryError,
    },
    /// There is no memory for the guest.
    #[error("no memory for the guest: {0}; the host is short of it")]
    Map(FromRangesError),
    /// An ioctl failed.
    #[error("{ioctl}: {source}")]
    Ioctl {
        /// Its name.
        ioctl: &'static str,
        /// Its error.
        source: kvm_ioctls::Error,
    },
}

/// For `map_err` after an access to memory at `address`.
pub(crate) fn memory(address: u64) -> impl FnOnce(GuestMemoryError) -> Error {
    move |source| Error::Memory { address, source }
}

/// For `map_err` after an ioctl.
pub(crate) fn ioctl(ioctl: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Error {
    move |source| Error::Ioctl { ioctl, source }
}
