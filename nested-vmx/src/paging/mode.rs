// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Paging modes: their levels, and what is reserved in entries.

use super::entry::Entry;
use super::state::PagingState;

/// A paging mode (SDM volume 3, section 5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Bits32,
    Pae,
    FourLevel,
    FiveLevel,
}

/// Which entries of a level map a page.
#[derive(Clone, Copy)]
enum Maps {
    /// None: bit 7 is reserved.
    Never,
    /// Those with bit 7. Bits of their address below that of the page are reserved but bit 12, which
    /// is PAT.
    LargePage,
    /// The same, where the processor has 1-GByte pages; else bit 7 is reserved.
    HugePage,
    /// Those with bit 7 and CR4.PSE: a 4-MByte page, whose address has a format of its own. Else
    /// bit 7 is ignored.
    FourMegabytes,
    /// All.
    Always,
}

/// A level of paging structures.
#[derive(Clone, Copy)]
pub(super) struct Level {
    /// The lowest bit of the linear address that chooses the entry.
    shift: u32,
    maps: Maps,
}

/// What a present entry is.
pub(super) enum Target {
    /// It references the table at this address.
    Table(u64),
    /// It maps the page at this address, of so many bytes.
    Page(u64, u64),
}

const PML5E: Level = Level {
    shift: 48,
    maps: Maps::Never,
};
const PML4E: Level = Level {
    shift: 39,
    maps: Maps::Never,
};
const PDPTE: Level = Level {
    shift: 30,
    maps: Maps::HugePage,
};
const PDE: Level = Level {
    shift: 21,
    maps: Maps::LargePage,
};
const PDE_32: Level = Level {
    shift: 22,
    maps: Maps::FourMegabytes,
};
const PTE: Level = Level {
    shift: 12,
    maps: Maps::Always,
};

impl Mode {
    /// Its levels, the topmost one first. Of PAE paging, the PDPTEs are in registers.
    pub(super) const fn levels(self) -> &'static [Level] {
        match self {
            Self::Bits32 => &[PDE_32, PTE],
            Self::Pae => &[PDE, PTE],
            Self::FourLevel => &[PML4E, PDPTE, PDE, PTE],
            Self::FiveLevel => &[PML5E, PML4E, PDPTE, PDE, PTE],
        }
    }

    /// How many bytes an entry has.
    pub(super) const fn entry_size(self) -> u64 {
        match self {
            Self::Bits32 => 4,
            Self::Pae | Self::FourLevel | Self::FiveLevel => 8,
        }
    }

    /// How many bits of a linear address choose an entry.
    const fn index_mask(self) -> u64 {
        match self {
            Self::Bits32 => 0x3ff,
            Self::Pae | Self::FourLevel | Self::FiveLevel => 0x1ff,
        }
    }

    /// The part of a linear address that is translated.
    pub(super) const fn linear_mask(self) -> u64 {
        match self {
            Self::Bits32 | Self::Pae => 0xffff_ffff,
            Self::FourLevel | Self::FiveLevel => u64::MAX,
        }
    }

    /// Whether entries have protection keys.
    pub(super) const fn has_protection_keys(self) -> bool {
        matches!(self, Self::FourLevel | Self::FiveLevel)
    }

    /// Bits that are reserved in every entry.
    const fn reserved(self, state: &PagingState) -> u64 {
        let execute_disable = match state.has_execute_disable() {
            true => 0,
            false => Entry::EXECUTE_DISABLE,
        };
        let beyond = state.beyond_physical();
        match self {
            Self::Bits32 => 0,
            // Bits 62:52 are reserved too.
            Self::Pae => beyond & !Entry::EXECUTE_DISABLE | execute_disable,
            Self::FourLevel | Self::FiveLevel => beyond & Entry::ADDRESS | execute_disable,
        }
    }
}

impl Level {
    /// Where in its table the entry for a linear address is.
    pub(super) const fn offset(self, mode: Mode, linear: u64) -> u64 {
        (linear >> self.shift & mode.index_mask()) * mode.entry_size()
    }

    /// What the entry, which is present, is; `None` if a reserved bit is 1.
    pub(super) const fn target(
        self,
        entry: Entry,
        mode: Mode,
        state: &PagingState,
    ) -> Option<Target> {
        let bytes = 1 << self.shift;
        let address = entry.0 & Entry::ADDRESS;
        let large = entry.has(Entry::PAGE);
        let inside = bytes - 1;
        let (reserved, target) = match (self.maps, large) {
            (Maps::Always, _) => (0, Target::Page(address, bytes)),
            (Maps::Never, true) => return None,
            (Maps::HugePage, true) if !state.has_1g_pages => return None,
            (Maps::HugePage | Maps::LargePage, true) => (
                inside & Entry::ADDRESS & !PAT,
                Target::Page(address & !inside, bytes),
            ),
            (Maps::FourMegabytes, true) if state.has_page_size_extensions() => {
                return four_megabytes(entry, state, bytes);
            }
            (Maps::Never | Maps::HugePage | Maps::LargePage | Maps::FourMegabytes, _) => {
                (0, Target::Table(address))
            }
        };
        match entry.0 & (reserved | mode.reserved(state)) {
            0 => Some(target),
            _ => None,
        }
    }
}

/// Bit 12 of an entry that maps a large page.
const PAT: u64 = 1 << 12;

/// SDM volume 3, table 5-4: bits 20:13 are bits 39:32 of the address, bit 21 is reserved.
const fn four_megabytes(entry: Entry, state: &PagingState, bytes: u64) -> Option<Target> {
    const RESERVED: u64 = 1 << 21;
    let address = entry.0 & 0xffc0_0000 | (entry.0 >> 13 & 0xff) << 32;
    match entry.0 & RESERVED | address & state.beyond_physical() {
        0 => Some(Target::Page(address, bytes)),
        _ => None,
    }
}
