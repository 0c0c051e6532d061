// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest's own paging.

#![allow(clippy::unwrap_used, clippy::panic)] // A test that fails panics.

mod flags;
mod formats;
mod model;
mod operands;
mod random;
mod rights;
mod state;

use nested_vmx::memory::L1Memory;
use nested_vmx::model::ModelMemory;
use nested_vmx::paging::{Access, PagingFault, PagingState, translate};

const PG: u64 = 1 << 31;
const WP: u64 = 1 << 16;
const PSE: u64 = 1 << 4;
const PAE: u64 = 1 << 5;
const LA57: u64 = 1 << 12;
const SMEP: u64 = 1 << 20;
const SMAP: u64 = 1 << 21;
const PKE: u64 = 1 << 22;
const PKS: u64 = 1 << 24;
const LMA: u64 = 1 << 10;
const NXE: u64 = 1 << 11;

/// Present, writable, user.
const PRESENT: u64 = 7;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const XD: u64 = 1 << 63;

/// Where the tables begin.
const ROOT: u64 = 0x1000;

/// A mode: its registers, the linear address that [`tables`] maps, the size of an entry.
struct Mode {
    state: PagingState,
    linear: u64,
    entry_size: u64,
    /// How many tables one behind the other there are.
    levels: u64,
}

fn state(cr4: u64, efer: u64) -> PagingState {
    PagingState {
        cr0: PG | WP | 1,
        cr3: ROOT,
        cr4,
        efer,
        pdptes: [1, ROOT | 1, 1, 1],
        physical_address_width: 40,
        has_1g_pages: true,
        ..PagingState::default()
    }
}

/// Entry 1 of each table.
fn modes() -> [Mode; 4] {
    let four = 1 << 39 | 1 << 30 | 1 << 21 | 1 << 12 | 0x123;
    [
        Mode {
            state: state(PSE, 0),
            linear: 1 << 22 | 1 << 12 | 0x123,
            entry_size: 4,
            levels: 2,
        },
        Mode {
            state: state(PAE, NXE),
            linear: 1 << 30 | 1 << 21 | 1 << 12 | 0x123,
            entry_size: 8,
            levels: 2,
        },
        Mode {
            state: state(PAE, LMA | NXE),
            linear: four,
            entry_size: 8,
            levels: 4,
        },
        Mode {
            state: state(PAE | LA57, LMA | NXE),
            linear: 1 << 48 | four,
            entry_size: 8,
            levels: 5,
        },
    ]
}

/// Memory with the tables of a mode from [`ROOT`] on, each in the page behind the other, and behind
/// them the page that they map.
struct Tables {
    memory: ModelMemory,
    mode: Mode,
}

impl Tables {
    fn new(mode: Mode) -> Self {
        let memory = ModelMemory::new(0x8000);
        let tables = Self { memory, mode };
        for level in 0..tables.mode.levels {
            tables.set(level, tables.next(level) | PRESENT);
        }
        tables
    }

    /// The page that the entry of this level leads to.
    fn next(&self, level: u64) -> u64 {
        ROOT + (level + 1) * 4096
    }

    /// The entry that maps the page.
    fn leaf(&self) -> u64 {
        self.mode.levels - 1
    }

    fn place(&self, level: u64) -> u64 {
        ROOT + level * 4096 + self.mode.entry_size
    }

    fn set(&self, level: u64, entry: u64) {
        let bytes = &entry.to_le_bytes()[..self.mode.entry_size as usize];
        self.memory.write(self.place(level), bytes).unwrap();
    }

    fn get(&self, level: u64) -> u64 {
        let mut bytes = [0; 8];
        let size = self.mode.entry_size as usize;
        self.memory
            .read(self.place(level), &mut bytes[..size])
            .unwrap();
        u64::from_le_bytes(bytes)
    }

    fn access(&self, access: Access) -> Result<u64, PagingFault> {
        translate(&self.memory, &self.mode.state, self.mode.linear, access)
    }

    /// The error code of the page fault that the access causes.
    fn error_code(&self, access: Access) -> Option<u32> {
        match self.access(access) {
            Ok(_) => None,
            Err(PagingFault::PageFault(fault)) => {
                assert_eq!(fault.address, self.mode.linear);
                Some(fault.error_code)
            }
            Err(fault) => panic!("{fault}"),
        }
    }
}

fn tables() -> [Tables; 4] {
    modes().map(Tables::new)
}

/// 4-level paging.
fn four_level() -> Tables {
    let [_, _, four, _] = tables();
    four
}
