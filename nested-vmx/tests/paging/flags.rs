// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Accessed and dirty flags (SDM volume 3, section 5.8).

use std::cell::Cell;

use nested_vmx::memory::{L1Memory, MemoryError};
use nested_vmx::model::ModelMemory;
use nested_vmx::paging::{Access, PagingFault, translate};

use crate::{ACCESSED, DIRTY, PRESENT, ROOT, Tables, tables};

fn flags(tables: &Tables) -> Vec<u64> {
    let levels = 0..tables.mode.levels;
    levels
        .map(|level| tables.get(level) & (ACCESSED | DIRTY))
        .collect()
}

#[test]
fn reads_and_writes() {
    for tables in tables() {
        let leaf = tables.leaf() as usize;
        let mut expected = vec![ACCESSED; leaf + 1];
        for access in [Access::Read, Access::Fetch] {
            tables.access(access).unwrap();
            assert_eq!(flags(&tables), expected);
        }
        expected[leaf] |= DIRTY;
        tables.access(Access::Write).unwrap();
        assert_eq!(flags(&tables), expected);
    }
}

#[test]
fn nothing_is_set_for_a_fault() {
    for tables in tables() {
        let leaf = tables.leaf();
        tables.set(leaf, tables.get(leaf) & !2);
        assert_eq!(tables.error_code(Access::Write), Some(3));
        assert!(flags(&tables).iter().all(|flags| *flags == 0));
    }
}

/// The neighbour in the same 8 bytes stays as it is, in both halves.
#[test]
fn entries_of_four_bytes() {
    for index in [2, 3] {
        let [mut tables, ..] = tables();
        tables.mode.linear = index << 22 | index << 12;
        let (page_directory, page_table) = (ROOT + 8, ROOT + 0x1008);
        let pair = |entry: u64| entry | entry << 32;
        let entries = [(page_directory, 0x2000), (page_table, 0x3000)];
        for (address, next) in entries {
            let bytes = pair(next | PRESENT).to_le_bytes();
            tables.memory.write(address, &bytes).unwrap();
        }
        assert_eq!(tables.access(Access::Write), Ok(0x3000));
        let shift = 32 * (index - 2);
        for ((address, next), flags) in entries.into_iter().zip([ACCESSED, ACCESSED | DIRTY]) {
            let expected = pair(next | PRESENT) | flags << shift;
            assert_eq!(tables.memory.read_u64(address), Ok(expected));
        }
    }
}

/// A table that maps itself: one entry is used on all levels.
#[test]
fn recursive_tables() {
    for tables in tables() {
        tables.set(0, ROOT | PRESENT);
        assert_eq!(tables.access(Access::Write), Ok(ROOT + 0x123));
        assert_eq!(tables.get(0), ROOT | PRESENT | ACCESSED | DIRTY);
    }
}

/// Another processor changes an ignored bit of an entry before it is exchanged.
struct Races<'a> {
    memory: &'a ModelMemory,
    left: Cell<u32>,
}

impl L1Memory for Races<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        self.memory.read(address, into)
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), MemoryError> {
        self.memory.write(address, from)
    }

    fn compare_exchange(&self, address: u64, current: u64, new: u64) -> Result<u64, MemoryError> {
        if let Some(left) = self.left.get().checked_sub(1) {
            self.left.set(left);
            let entry = self.memory.read_u64(address)? ^ 1 << 9;
            self.memory.write(address, &entry.to_le_bytes())?;
        }
        self.memory.compare_exchange(address, current, new)
    }
}

#[test]
fn entries_that_change() {
    for tables in tables() {
        let access = |left| {
            let races = Races {
                memory: &tables.memory,
                left: Cell::new(left),
            };
            let state = &tables.mode.state;
            translate(&races, state, tables.mode.linear, Access::Write)
        };
        assert_eq!(access(u32::MAX), Err(PagingFault::Changing));
        let leaf = tables.leaf();
        assert_eq!(tables.get(leaf) & DIRTY, 0);
        assert_eq!(access(7), Ok(tables.next(leaf) + 0x123));
        assert_eq!(tables.get(leaf) & DIRTY, DIRTY);
    }
}
