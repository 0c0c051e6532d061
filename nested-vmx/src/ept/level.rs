// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The levels of EPT paging structures, and which of their entries are misconfigured.

use super::entry::Entry;
use super::fault::Misconfiguration;
use super::translate::Ept;
use crate::capability::EptVpid;

/// The size of a page that an entry maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PageSize {
    /// 4 KBytes, by a PTE.
    Size4K,
    /// 2 MBytes, by a PDE.
    Size2M,
    /// 1 GByte, by a PDPTE.
    Size1G,
}

impl PageSize {
    /// Its bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Size4K => 1 << 12,
            Self::Size2M => 1 << 21,
            Self::Size1G => 1 << 30,
        }
    }

    /// The part of an address that is inside of the page.
    pub const fn offset(self, address: u64) -> u64 {
        address & (self.bytes() - 1)
    }
}

/// Which entries of a level map a page.
#[derive(Clone, Copy)]
enum Maps {
    Never,
    /// Those with bit 7, if the processor has such pages.
    WithBit7(PageSize, EptVpid),
    Always(PageSize),
}

/// A level.
#[derive(Clone, Copy)]
pub(super) struct Level {
    /// The lowest bit of the nine bits of a guest-physical address that choose the entry.
    shift: u32,
    maps: Maps,
    /// Bits that must be 0 in an entry that references a table, beside those of its address.
    reserved_in_reference: u64,
    /// The same in an entry that maps a page.
    reserved_in_page: u64,
}

/// SDM volume 3, tables 30-2 to 30-7.
pub(super) const LEVELS: [Level; 5] = [
    // PML5E
    Level {
        shift: 48,
        maps: Maps::Never,
        reserved_in_reference: 0xf8,
        reserved_in_page: 0,
    },
    // PML4E
    Level {
        shift: 39,
        maps: Maps::Never,
        reserved_in_reference: 0xf8,
        reserved_in_page: 0,
    },
    // PDPTE
    Level {
        shift: 30,
        maps: Maps::WithBit7(PageSize::Size1G, EptVpid::PAGE_1G),
        reserved_in_reference: 0xf8,
        reserved_in_page: 0x3fff_f000,
    },
    // PDE
    Level {
        shift: 21,
        maps: Maps::WithBit7(PageSize::Size2M, EptVpid::PAGE_2M),
        reserved_in_reference: 0xf8,
        reserved_in_page: 0x1f_f000,
    },
    // PTE
    Level {
        shift: 12,
        maps: Maps::Always(PageSize::Size4K),
        reserved_in_reference: 0,
        reserved_in_page: 0,
    },
];

/// What a well-formed entry that is present is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Table,
    Page(PageSize),
}

impl Level {
    /// Where in its table the entry for this guest-physical address is.
    pub(super) const fn offset(&self, guest_physical: u64) -> u64 {
        (guest_physical >> self.shift & 0x1ff) * 8
    }

    /// What the entry, which is present, leads to.
    ///
    /// # Errors
    ///
    /// [`Misconfiguration`] (SDM volume 3, section 30.3.3.1)
    pub(super) fn target(&self, entry: Entry, ept: &Ept) -> Result<Target, Misconfiguration> {
        let target = match self.maps {
            Maps::Always(size) => Target::Page(size),
            Maps::WithBit7(size, capability) if entry.has(Entry::PAGE) && ept.has(capability) => {
                Target::Page(size)
            }
            Maps::WithBit7(..) | Maps::Never => Target::Table,
        };
        let reserved = match target {
            Target::Table => self.reserved_in_reference,
            Target::Page(_) => self.reserved_in_page,
        };
        let fetch = match ept.mode_based_execute() {
            true => Entry::EXECUTE | Entry::EXECUTE_USER,
            false => Entry::EXECUTE,
        };
        if !entry.has(Entry::READ) {
            if entry.has(Entry::WRITE) {
                return Err(Misconfiguration::WriteOnly);
            }
            if !ept.has(EptVpid::EXECUTE_ONLY) && entry.0 & fetch != 0 {
                return Err(Misconfiguration::ExecuteOnly);
            }
        }
        if entry.0 & (reserved | ept.reserved_address()) != 0 {
            return Err(Misconfiguration::ReservedBit);
        }
        match target {
            Target::Page(_) if entry.memory_type().is_none() => Err(Misconfiguration::MemoryType),
            target => Ok(target),
        }
    }
}
