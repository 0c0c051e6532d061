// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What an access causes that EPT12 does not translate.

use thiserror::Error;

use crate::memory::MemoryError;

/// Why an entry that is present is misconfigured (SDM volume 3, section 30.3.3.1).
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum Misconfiguration {
    /// Bit 0 is 0 and bit 1 is 1.
    #[error("an entry allows writes and not reads")]
    WriteOnly,
    /// Bit 0 is 0 and bit 2, or with mode-based execute control bit 10, is 1, without the support
    /// for it in IA32_VMX_EPT_VPID_CAP.
    #[error("an entry allows fetches and not reads, which the processor does not support")]
    ExecuteOnly,
    /// A reserved bit is 1, or the address is beyond the physical-address width.
    #[error("an entry has a reserved bit set")]
    ReservedBit,
    /// Bits 5:3 of an entry that maps a page are 2, 3, or 7.
    #[error("an entry has a reserved memory type")]
    MemoryType,
}

/// An EPT violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Violation {
    /// The exit qualification (SDM volume 3, table 29-7).
    pub qualification: u64,
    /// The guest-physical address.
    pub guest_physical: u64,
    /// Whether it is convertible to a virtualization exception: bit 63 is 0 in the entry that maps
    /// the page, or that is not present (SDM volume 3, section 27.5.7.1).
    pub convertible: bool,
}

/// Why an access is not translated.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum EptFault {
    /// An EPT violation: exit reason 48, or a virtualization exception.
    #[error("EPT violation at {:#x}, qualification {:#x}", .0.guest_physical, .0.qualification)]
    Violation(Violation),
    /// An EPT misconfiguration: exit reason 49. Its qualification is undefined.
    #[error("EPT misconfiguration at {guest_physical:#x}: {rule}")]
    Misconfiguration {
        /// The guest-physical address.
        guest_physical: u64,
        /// What is wrong.
        rule: Misconfiguration,
    },
    /// The page-modification log is full: exit reason 62. Nothing was changed.
    #[error("the page-modification log is full")]
    LogFull,
    /// A paging structure, or the page-modification log, is not memory of L1's. What hardware does
    /// then depends on the platform.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The entries kept changing while they were used. L2 may try the access again.
    #[error("the EPT paging structures keep changing")]
    Changing,
}
