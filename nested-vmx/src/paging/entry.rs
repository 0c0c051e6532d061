// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Bits of paging-structure entries (SDM volume 3, tables 5-4 to 5-20).

/// An entry of any level and mode. Those of 32-bit paging are zero-extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry(pub(super) u64);

impl Entry {
    pub(super) const PRESENT: u64 = 1 << 0;
    pub(super) const WRITE: u64 = 1 << 1;
    pub(super) const USER: u64 = 1 << 2;
    pub(super) const ACCESSED: u64 = 1 << 5;
    pub(super) const DIRTY: u64 = 1 << 6;
    /// It maps a page (PS).
    pub(super) const PAGE: u64 = 1 << 7;
    pub(super) const EXECUTE_DISABLE: u64 = 1 << 63;
    /// Bits 51:12: the address of a table or a page.
    pub(super) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

    pub(super) const fn has(self, bits: u64) -> bool {
        self.0 & bits == bits
    }

    /// Bits 62:59: the protection key of a page.
    pub(super) const fn protection_key(self) -> u32 {
        (self.0 >> 59 & 0xf) as u32
    }
}
