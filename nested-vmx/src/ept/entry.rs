// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Entries of EPT paging structures (SDM volume 3, tables 30-2 to 30-7).

use bitflags::bitflags;

bitflags! {
    /// What accesses an entry, or all entries of a translation, allow.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Permissions: u8 {
        /// Data reads.
        const READ = 1 << 0;
        /// Data writes.
        const WRITE = 1 << 1;
        /// Instruction fetches: with mode-based execute control, those from supervisor-mode linear
        /// addresses.
        const EXECUTE = 1 << 2;
        /// Instruction fetches from user-mode linear addresses. Without mode-based execute control
        /// the same as [`EXECUTE`](Self::EXECUTE).
        const EXECUTE_USER = 1 << 3;
    }
}

/// A memory type (SDM volume 3, table 13-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MemoryType {
    /// Uncacheable.
    Uncacheable = 0,
    /// Write combining.
    WriteCombining = 1,
    /// Write through.
    WriteThrough = 4,
    /// Write protected.
    WriteProtected = 5,
    /// Write back.
    WriteBack = 6,
}

impl MemoryType {
    /// The type with this number; `None` for 2, 3, 7 and more, which are reserved.
    pub const fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::Uncacheable,
            1 => Self::WriteCombining,
            4 => Self::WriteThrough,
            5 => Self::WriteProtected,
            6 => Self::WriteBack,
            _ => return None,
        })
    }
}

/// An entry of an EPT paging structure, of any level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry(pub u64);

impl Entry {
    /// Bit 0: reads are allowed.
    pub const READ: u64 = 1 << 0;
    /// Bit 1: writes are allowed.
    pub const WRITE: u64 = 1 << 1;
    /// Bit 2: fetches are allowed, or only those from supervisor-mode linear addresses.
    pub const EXECUTE: u64 = 1 << 2;
    /// Bit 6 of an entry that maps a page: the guest's PAT is ignored.
    pub const IGNORE_PAT: u64 = 1 << 6;
    /// Bit 7 of an entry that can reference a table: it maps a page.
    pub const PAGE: u64 = 1 << 7;
    /// Bit 8: it was used for a translation.
    pub const ACCESSED: u64 = 1 << 8;
    /// Bit 9 of an entry that maps a page: there was a write to the page.
    pub const DIRTY: u64 = 1 << 9;
    /// Bit 10: fetches from user-mode linear addresses are allowed, with mode-based execute control.
    pub const EXECUTE_USER: u64 = 1 << 10;
    /// Bit 60 of an entry that maps a page: supervisor shadow-stack accesses are allowed.
    pub const SUPERVISOR_SHADOW_STACK: u64 = 1 << 60;
    /// Bit 63: an EPT violation here is not convertible to a virtualization exception.
    pub const SUPPRESS_VE: u64 = 1 << 63;
    /// Bits 51:12: the physical address of a table or a page.
    pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

    /// Whether all these bits are 1.
    pub const fn has(self, bits: u64) -> bool {
        self.0 & bits == bits
    }

    /// Whether it is present: it allows any access at all (SDM volume 3, section 30.3.2).
    pub const fn is_present(self, mode_based_execute: bool) -> bool {
        let any = Self::READ | Self::WRITE | Self::EXECUTE;
        let any = match mode_based_execute {
            true => any | Self::EXECUTE_USER,
            false => any,
        };
        self.0 & any != 0
    }

    /// What it allows.
    pub const fn permissions(self, mode_based_execute: bool) -> Permissions {
        let user = match mode_based_execute {
            true => Self::EXECUTE_USER,
            false => Self::EXECUTE,
        };
        let mut bits = (self.0 & 7) as u8;
        if self.has(user) {
            bits |= Permissions::EXECUTE_USER.bits();
        }
        Permissions::from_bits_retain(bits)
    }

    /// Bits 5:3 of an entry that maps a page: its memory type, if that is not a reserved one.
    pub const fn memory_type(self) -> Option<MemoryType> {
        MemoryType::from_number(self.0 >> 3 & 7)
    }

    /// The physical address of the table or the page, with the low bits of a large page's address.
    pub const fn address(self) -> u64 {
        self.0 & Self::ADDRESS
    }
}
