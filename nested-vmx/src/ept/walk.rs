// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The walk from the EPTP to the entry that maps a page (SDM volume 3, section 30.3.2).

use super::entry::{Entry, Permissions};
use super::fault::Misconfiguration;
use super::level::{LEVELS, PageSize, Target};
use super::translate::Ept;
use crate::memory::{L1Memory, MemoryError};

/// An entry that the walk used, and where it is.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) address: u64,
    pub(super) entry: Entry,
}

/// A walk that found a page.
pub(super) struct Path {
    /// The entries that reference tables, from the topmost one on.
    references: [Option<Step>; LEVELS.len() - 1],
    /// The entry that maps the page.
    pub(super) leaf: Step,
    pub(super) size: PageSize,
    /// What all entries allow.
    pub(super) permissions: Permissions,
    /// What those entries allow that reference tables.
    pub(super) of_references: Permissions,
}

impl Path {
    pub(super) fn references(&self) -> impl Iterator<Item = Step> {
        self.references.into_iter().flatten()
    }
}

/// Why a walk found none.
pub(super) enum Stop {
    /// The guest-physical address has more bits than the tables translate.
    TooWide,
    /// The entry is not present.
    NotPresent(Entry),
    Misconfigured(Misconfiguration),
    Memory(MemoryError),
    /// There are fewer levels than this EPTP says: it was not checked.
    NoLevel,
}

/// Walks. At most one entry a level is read, whatever the tables hold.
pub(super) fn walk(ept: &Ept, memory: &dyn L1Memory, guest_physical: u64) -> Result<Path, Stop> {
    let length = match ept.eptp().walk_length() {
        5 => 5,
        _ => 4,
    };
    // 9 bits a level and those of the page.
    if guest_physical >> (9 * length + 12) != 0 {
        return Err(Stop::TooWide);
    }
    let mut references = [None; LEVELS.len() - 1];
    let mut of_references = Permissions::all();
    let mut table = ept.eptp().root();
    let levels = LEVELS.iter().skip(LEVELS.len() - length);
    let mut slots = references.iter_mut();
    for level in levels {
        let address = table | level.offset(guest_physical);
        let entry = Entry(memory.read_u64(address).map_err(Stop::Memory)?);
        if !entry.is_present(ept.mode_based_execute()) {
            return Err(Stop::NotPresent(entry));
        }
        let step = Step { address, entry };
        let permissions = entry.permissions(ept.mode_based_execute());
        match level.target(entry, ept).map_err(Stop::Misconfigured)? {
            Target::Page(size) => {
                return Ok(Path {
                    references,
                    leaf: step,
                    size,
                    permissions: of_references & permissions,
                    of_references,
                });
            }
            Target::Table => {
                of_references &= permissions;
                table = entry.address();
                if let Some(slot) = slots.next() {
                    *slot = Some(step);
                }
            }
        }
    }
    Err(Stop::NoLevel)
}
