// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Entries of each mode: what is present, reserved, and a large page (SDM volume 3, sections 5.3
//! to 5.5).

use nested_vmx::model::ModelMemory;
use nested_vmx::paging::{Access, PagingFault, PagingState, translate};

use crate::{LARGE, NXE, PRESENT, PSE, Tables, XD, four_level, modes, state, tables};

const RESERVED: Option<u32> = Some(9);

#[test]
fn each_mode_translates() {
    for tables in tables() {
        let page = tables.next(tables.leaf());
        assert_eq!(tables.access(Access::Read), Ok(page + 0x123));
    }
}

#[test]
fn no_paging() {
    let none = PagingState {
        cr0: 1,
        ..state(0, 0)
    };
    let memory = ModelMemory::new(0);
    let address = translate(&memory, &none, 0xf_1234_5678, Access::Write);
    assert_eq!(address, Ok(0x1234_5678));
}

#[test]
fn entries_that_are_not_present() {
    for tables in tables() {
        for level in 0..tables.mode.levels {
            let entry = tables.get(level);
            tables.set(level, !1);
            assert_eq!(tables.error_code(Access::Write), Some(2), "{level}");
            tables.set(level, entry);
        }
    }
    let [_, pae, ..] = modes();
    let mut tables = Tables::new(pae);
    tables.mode.state.pdptes[1] = !1;
    assert_eq!(tables.error_code(Access::Read), Some(0));
}

/// The bits that are reserved in each kind of entry, for 40 bits of physical addresses.
#[test]
fn reserved_bits() {
    let beyond = 40..52;
    let all = |first: std::ops::Range<u32>, second: std::ops::Range<u32>| -> Vec<u32> {
        first.chain(second).collect()
    };
    let long_table: Vec<u32> = beyond.clone().collect();
    let pml4e = all(7..8, beyond.clone());
    let pae: Vec<u32> = (40..63).collect();
    // Mode, level, whether it maps a large page, what is reserved.
    let table: Vec<(usize, u64, bool, Vec<u32>)> = vec![
        (0, 0, false, vec![]),
        // Bits 20:13 are bits 39:32 of the address.
        (0, 0, true, vec![21]),
        (0, 1, false, vec![]),
        (1, 0, false, pae.clone()),
        (1, 0, true, all(13..21, 40..63)),
        (1, 1, false, pae),
        (2, 0, false, pml4e.clone()),
        (2, 1, false, long_table.clone()),
        (2, 1, true, all(13..30, beyond.clone())),
        (2, 2, false, long_table.clone()),
        (2, 2, true, all(13..21, beyond)),
        (2, 3, false, long_table),
        (3, 0, false, pml4e.clone()),
        (3, 1, false, pml4e),
    ];
    for (mode, level, large, reserved) in table {
        let tables = &tables()[mode];
        let plain = if large {
            PRESENT | LARGE
        } else {
            tables.get(level)
        };
        let is_leaf = level == tables.leaf();
        let width = tables.mode.entry_size as u32 * 8;
        for bit in (3..width).filter(|bit| plain >> bit & 1 == 0) {
            // Where it would make it a large page, or lead to another table.
            let leads_elsewhere = !large && !is_leaf && (12..40).contains(&bit);
            let makes_large = bit == 7 && !is_leaf && !reserved.contains(&7);
            if leads_elsewhere || makes_large {
                continue;
            }
            tables.set(level, plain | 1 << bit);
            let expected = reserved.contains(&bit).then_some(9);
            let context = format!("bit {bit}, mode {mode}, level {level}, large: {large}");
            assert_eq!(tables.error_code(Access::Read), expected, "{context}");
        }
    }
}

#[test]
fn execute_disable_is_reserved_without_nxe() {
    for mut tables in tables().into_iter().skip(1) {
        for level in 0..tables.mode.levels {
            tables.set(level, tables.get(level) | XD);
            assert_eq!(tables.error_code(Access::Read), None);
            tables.mode.state.efer &= !NXE;
            assert_eq!(tables.error_code(Access::Read), RESERVED);
            tables.mode.state.efer |= NXE;
            tables.set(level, tables.get(level) & !XD);
        }
    }
}

#[test]
fn large_pages() {
    for (mode, level, page, bytes) in [
        (0, 0, 0x40_0000, 1 << 22),
        (1, 0, 0x20_0000, 1 << 21),
        (2, 1, 1 << 30, 1 << 30),
        (2, 2, 0x20_0000, 1 << 21),
        (3, 2, 1 << 30, 1 << 30),
        (3, 3, 0x20_0000, 1 << 21),
    ] {
        let tables = &tables()[mode];
        tables.set(level, page | PRESENT | LARGE);
        let expected = page + tables.mode.linear % bytes;
        assert_eq!(tables.access(Access::Read), Ok(expected));
        // Bit 12 is PAT.
        tables.set(level, page | PRESENT | LARGE | 1 << 12);
        assert_eq!(tables.access(Access::Read), Ok(expected));
    }
}

#[test]
fn four_megabyte_pages() {
    let [mut tables, ..] = tables();
    // Bits 39:32 of the address are in bits 20:13.
    tables.set(0, 0xff << 13 | 0x40_0000 | PRESENT | LARGE);
    assert_eq!(tables.access(Access::Read), Ok(0xff_0040_1123));
    tables.mode.state.physical_address_width = 36;
    assert_eq!(tables.error_code(Access::Read), RESERVED);
    tables.set(0, 0x0f << 13 | 0x40_0000 | PRESENT | LARGE);
    assert_eq!(tables.access(Access::Read), Ok(0xf_0040_1123));
    // Without CR4.PSE the bit is ignored.
    tables.set(0, tables.next(0) | PRESENT | LARGE);
    tables.mode.state.cr4 &= !PSE;
    assert_eq!(tables.access(Access::Read), Ok(tables.next(1) + 0x123));
}

#[test]
fn no_1g_pages() {
    let mut tables = four_level();
    tables.mode.state.has_1g_pages = false;
    tables.set(1, PRESENT | LARGE);
    assert_eq!(tables.error_code(Access::Read), RESERVED);
}

#[test]
fn the_high_half_does_not_count_outside_ia_32e_mode() {
    for tables in tables().into_iter().take(2) {
        let linear = tables.mode.linear;
        let state = &tables.mode.state;
        let high = translate(&tables.memory, state, 7 << 32 | linear, Access::Read);
        assert_eq!(high, tables.access(Access::Read));
        tables.set(0, 0);
        let fault = translate(&tables.memory, state, 7 << 32 | linear, Access::Read);
        let Err(PagingFault::PageFault(fault)) = fault else {
            panic!("{fault:?}");
        };
        assert_eq!(fault.address, linear);
    }
}

#[test]
fn tables_that_are_no_memory() {
    for tables in tables() {
        tables.set(0, 0x7000_0000 | PRESENT);
        let fault = tables.access(Access::Read);
        assert!(matches!(fault, Err(PagingFault::Memory(_))), "{fault:?}");
    }
}
