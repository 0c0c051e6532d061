// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the processor reads in L1 and in L2: pages, segments, interrupts.

use crate::layout;

pub const CODE_64: u16 = 0x08;
pub const DATA: u16 = 0x10;
pub const CODE_32: u16 = 0x18;
pub const TASK: u16 = 0x20;
pub const GDT_LIMIT: u16 = 0x2f;
pub const IDT_LIMIT: u16 = 32 * 16 - 1;
pub const TSS_LIMIT: u64 = 0x67;
/// The bytes of a vector's stub.
pub const STUB: u64 = 16;

/// Present, writable, accessed; a page is large and dirty, too.
const TABLE: u64 = 0x23;
const LARGE_PAGE: u64 = 0xe3;
const SIZE: u64 = 2 << 20;

/// The memory of the tables.
pub fn tables() -> Vec<(u64, Vec<u8>)> {
    let directories: Vec<u64> = (0..4)
        .map(|gib| (layout::PD + gib * 0x1000) | TABLE)
        .collect();
    let pages: Vec<u64> = (0..4 * 512)
        .map(|page| (page * SIZE) | LARGE_PAGE)
        .collect();
    vec![
        (layout::PML4, words(&[layout::PDPT | TABLE])),
        (layout::PDPT, words(&directories)),
        (layout::PD, words(&pages)),
        (layout::GDT, words(&segments())),
        (layout::GDTR, register(GDT_LIMIT, layout::GDT)),
        (layout::L1_IDTR, register(IDT_LIMIT, layout::L1_IDT)),
        (layout::L1_IDT, gates(layout::L1_STUBS)),
        (layout::L2_IDT, gates(layout::L2_STUBS)),
    ]
}

/// Nothing, 64-bit code, data, 32-bit code, the task-state segment.
fn segments() -> [u64; 6] {
    let task = 0x0000_8900_0000_0000 | TSS_LIMIT | (layout::TSS & 0xff_ffff) << 16;
    [
        0,
        0x00af_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0x00cf_9b00_0000_ffff,
        task,
        0,
    ]
}

fn register(limit: u16, base: u64) -> Vec<u8> {
    [&limit.to_le_bytes()[..], &base.to_le_bytes()].concat()
}

/// Interrupt gates to stubs that follow each other.
fn gates(stubs: u64) -> Vec<u8> {
    let gates: Vec<u64> = (0..32)
        .flat_map(|vector| {
            let stub = stubs + vector * STUB;
            let gate = 0x8e00 << 32 | u64::from(CODE_64) << 16;
            [
                stub & 0xffff | gate | (stub >> 16 & 0xffff) << 48,
                stub >> 32,
            ]
        })
        .collect();
    words(&gates)
}

pub fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
