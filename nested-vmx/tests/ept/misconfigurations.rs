// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Each rule of SDM volume 3, section 30.3.3.1.

use nested_vmx::capability::EptVpid;
use nested_vmx::ept::{Ept, EptFault, Misconfiguration};

use crate::{ADDRESS, ENTRIES, PLAIN, READ, RWX, WB, capabilities, plain, tables, with};

/// What comes of a read with `entry` in the place of one of the entries.
fn read_with(ept: &Ept, level: usize, entry: u64) -> Option<Misconfiguration> {
    let memory = tables();
    memory.set(ENTRIES[level], entry);
    match ept.translate(&memory, ADDRESS, &READ, None) {
        Err(EptFault::Misconfiguration {
            guest_physical,
            rule,
        }) => {
            assert_eq!(guest_physical, ADDRESS);
            Some(rule)
        }
        _ => None,
    }
}

#[test]
fn writes_without_reads() {
    for level in 0..4 {
        let rule = read_with(&plain(), level, 0x7000 | 2);
        assert_eq!(rule, Some(Misconfiguration::WriteOnly), "{level}");
        let rule = read_with(&plain(), level, 0x7000 | 6);
        assert_eq!(rule, Some(Misconfiguration::WriteOnly), "{level}");
    }
}

#[test]
fn fetches_without_reads() {
    let without = with(EptVpid::all() - EptVpid::EXECUTE_ONLY);
    for (capabilities, mode_based, entry, expected) in [
        (capabilities(), false, 4, None),
        (capabilities(), true, 1 << 10, None),
        (without, false, 4, Some(Misconfiguration::ExecuteOnly)),
        // Not present: bit 10 is ignored.
        (without, false, 1 << 10, None),
        (without, true, 1 << 10, Some(Misconfiguration::ExecuteOnly)),
        (without, true, 4, Some(Misconfiguration::ExecuteOnly)),
    ] {
        let ept = Ept::new(PLAIN, &capabilities, mode_based);
        for level in 0..4 {
            assert_eq!(read_with(&ept, level, 0x7000 | entry), expected, "{level}");
        }
    }
}

/// The bits that are reserved in each kind of entry, and those that are ignored, for 40 bits of
/// physical addresses (tables 30-2 to 30-7).
#[test]
fn reserved_bits() {
    let reference = 0x7000 | RWX;
    let page = RWX | WB;
    let beyond: Vec<u32> = (40..52).collect();
    let no_large = with(EptVpid::all() - EptVpid::PAGE_1G - EptVpid::PAGE_2M);
    let table: [(_, usize, u64, Vec<u32>); 8] = [
        ("PML4E", 0, reference, (3..8).collect()),
        ("PDPTE", 1, reference, (3..7).collect()),
        ("PDPTE of a page", 1, page | 0x80, (12..30).collect()),
        ("PDE", 2, reference, (3..7).collect()),
        ("PDE of a page", 2, page | 0x80, (12..21).collect()),
        ("PTE", 3, page, vec![]),
        ("PDPTE, no large pages", 1, reference, (3..8).collect()),
        ("PDE, no large pages", 2, reference, (3..8).collect()),
    ];
    for (name, level, entry, reserved) in table {
        let capabilities = match name.ends_with("no large pages") {
            true => no_large,
            false => capabilities(),
        };
        let ept = Ept::new(PLAIN, &capabilities, false);
        // Bits 2:0 are the rights, 5:3 of a page its memory type; bit 7 may make it a page.
        for bit in (3..64).filter(|bit| entry >> bit & 1 == 0) {
            let maps_a_page = entry & WB != 0;
            let other_meaning = maps_a_page && bit < 6 || bit == 7 && !reserved.contains(&7);
            if other_meaning {
                continue;
            }
            let is_reserved = reserved.contains(&bit) || beyond.contains(&bit);
            let expected = is_reserved.then_some(Misconfiguration::ReservedBit);
            let rule = read_with(&ept, level, entry | 1 << bit);
            assert_eq!(rule, expected, "bit {bit} of {name}");
        }
    }
}

#[test]
fn memory_types() {
    for (level, page) in [(1, 0x80), (2, 0x80), (3, 0)] {
        for number in 0..8 {
            let rule = read_with(&plain(), level, RWX | page | number << 3);
            let reserved = [2, 3, 7].contains(&number);
            let expected = reserved.then_some(Misconfiguration::MemoryType);
            assert_eq!(rule, expected, "type {number} at {level}");
        }
    }
}

#[test]
fn an_entry_that_is_not_present_can_hold_anything() {
    for level in 0..4 {
        assert_eq!(read_with(&plain(), level, !0 - 7), None);
    }
}
