// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Operands of several bytes.

use nested_vmx::memory::L1Memory;
use nested_vmx::paging::{LONGEST, PagingFault, PagingState, read, write};

use crate::{PRESENT, Tables, four_level, tables};

/// Tables whose entry 2 in the last table maps the page 0x7000, so that two pages that are next to
/// each other are not so in memory.
fn two_pages(tables: &Tables) -> u64 {
    let place = tables.place(tables.leaf()) + tables.mode.entry_size;
    let entry = 0x7000 | PRESENT;
    let bytes = &entry.to_le_bytes()[..tables.mode.entry_size as usize];
    tables.memory.write(place, bytes).unwrap();
    (tables.mode.linear & !0xfff) + 0x1000
}

const BYTES: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

#[test]
fn in_one_page() {
    for tables in tables() {
        let state = &tables.mode.state;
        write(&tables.memory, state, tables.mode.linear, &BYTES).unwrap();
        let physical = tables.next(tables.leaf()) + 0x123;
        let mut found = [0; 8];
        tables.memory.read(physical, &mut found).unwrap();
        assert_eq!(found, BYTES);
        let mut found = [0; 8];
        read(&tables.memory, state, tables.mode.linear, &mut found).unwrap();
        assert_eq!(found, BYTES);
    }
}

#[test]
fn in_two_pages() {
    for tables in tables() {
        let state = &tables.mode.state;
        let second = two_pages(&tables);
        for before in 1..8 {
            let linear = second - before as u64;
            write(&tables.memory, state, linear, &BYTES).unwrap();
            let mut found = [0; 8];
            let (low, high) = found.split_at_mut(before);
            let first = tables.next(tables.leaf()) + 0x1000;
            tables.memory.read(first - before as u64, low).unwrap();
            tables.memory.read(0x7000, high).unwrap();
            assert_eq!(found, BYTES);
            let mut found = [0; 8];
            read(&tables.memory, state, linear, &mut found).unwrap();
            assert_eq!(found, BYTES);
        }
    }
}

#[test]
fn a_fault_in_the_second_page() {
    for tables in tables() {
        let state = &tables.mode.state;
        let second = (tables.mode.linear & !0xfff) + 0x1000;
        let fault = write(&tables.memory, state, second - 4, &BYTES).unwrap_err();
        let PagingFault::PageFault(fault) = fault else {
            panic!("{fault}");
        };
        assert_eq!((fault.error_code, fault.address), (2, second));
        // Nothing was written to the first page.
        let mut found = [0xff; 4];
        let first = tables.next(tables.leaf()) + 0xffc;
        tables.memory.read(first, &mut found).unwrap();
        assert_eq!(found, [0; 4]);
        // Up to the boundary there is no second page.
        write(&tables.memory, state, second - 8, &BYTES).unwrap();
    }
}

#[test]
fn wraps_at_4_gib_outside_ia_32e_mode() {
    let [tables, ..] = tables();
    // The first and the last entry of the page directory, and of the page table.
    let entries = [
        (0x1000, 0x2000),
        (0x1ffc, 0x2000),
        (0x2000, 0x6000),
        (0x2ffc, 0x7000),
    ];
    for (place, next) in entries {
        let entry = u32::try_from(next | PRESENT).unwrap();
        tables.memory.write(place, &entry.to_le_bytes()).unwrap();
    }
    let state = &tables.mode.state;
    write(&tables.memory, state, 0xffff_fffc, &BYTES).unwrap();
    let mut found = [0; 8];
    let (low, high) = found.split_at_mut(4);
    tables.memory.read(0x7ffc, low).unwrap();
    tables.memory.read(0x6000, high).unwrap();
    assert_eq!(found, BYTES);
}

#[test]
fn no_longer_than_two_pages() {
    let tables = four_level();
    let mut bytes = [0; LONGEST + 1];
    let fault = read(&tables.memory, &PagingState::default(), 0, &mut bytes);
    assert!(matches!(fault, Err(PagingFault::Memory(_))));
    read(&tables.memory, &PagingState::default(), 1, &mut bytes[1..]).unwrap();
}
