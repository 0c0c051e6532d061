// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A plain model of paging, without protection keys.

use nested_vmx::memory::L1Memory;
use nested_vmx::model::ModelMemory;
use nested_vmx::paging::{Access, PagingState};

use crate::{LA57, LMA, NXE, PAE, PSE, SMAP, SMEP, WP};

/// What comes of an access.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    Address(u64),
    PageFault(u32),
    NoMemory,
}

const fn bit(value: u64, at: u32) -> bool {
    value >> at & 1 == 1
}

/// The model's walk. On success it sets flags in `memory`.
pub fn access(memory: &ModelMemory, state: &PagingState, linear: u64, access: Access) -> Outcome {
    let cr4 = |flag| state.cr4 & flag != 0;
    let long = state.efer & LMA != 0;
    let nx = cr4(PAE) && state.efer & NXE != 0;
    let user = state.cpl == 3;
    let write = access == Access::Write;
    let fetch = access == Access::Fetch;
    let about =
        u32::from(write) << 1 | u32::from(user) << 2 | u32::from(fetch && (nx || cr4(SMEP))) << 4;

    let (levels, bits, size) = match (cr4(PAE), long) {
        (false, _) => (2, 10, 4),
        (true, false) => (2, 9, 8),
        (true, true) if cr4(LA57) => (5, 9, 8),
        (true, true) => (4, 9, 8),
    };
    let address_bits = 0x000f_ffff_ffff_f000;
    let mut table = match (cr4(PAE), long) {
        (false, _) => state.cr3 & 0xffff_f000,
        (true, false) => {
            let pdpte = state.pdptes[(linear >> 30 & 3) as usize];
            if !bit(pdpte, 0) {
                return Outcome::PageFault(about);
            }
            pdpte & address_bits
        }
        _ => state.cr3 & address_bits,
    };
    let mut used = vec![];
    let (mut writable, mut for_user, mut no_execute) = (true, true, false);
    for level in (1..=levels).rev() {
        let shift = 12 + bits * (level - 1);
        let at = table + (linear >> shift) % (1 << bits) * size;
        let mut bytes = [0; 8];
        if memory.read(at, &mut bytes[..size as usize]).is_err() {
            return Outcome::NoMemory;
        }
        let entry = u64::from_le_bytes(bytes);
        if !bit(entry, 0) {
            return Outcome::PageFault(about);
        }
        let can_be_large = match level {
            2 => size == 8 || cr4(PSE),
            3 => state.has_1g_pages,
            _ => false,
        };
        let leaf = level == 1 || can_be_large && bit(entry, 7);
        let width = state.physical_address_width;
        let mut reserved: Vec<u32> = vec![];
        let mut page = entry & address_bits;
        if size == 8 {
            reserved.extend(width..if long { 52 } else { 63 });
            if !nx {
                reserved.push(63);
            }
            if level >= 3 && !leaf && (level > 3 || !state.has_1g_pages) {
                reserved.push(7);
            }
            if leaf && level > 1 {
                reserved.extend(13..shift);
            }
        } else if leaf && level == 2 {
            reserved.push(21);
            reserved.extend((13..21).filter(|bit| bit + 19 >= width));
            page = entry & 0xffc0_0000 | (entry >> 13 & 0xff) << 32;
        }
        if reserved.into_iter().any(|at| bit(entry, at)) {
            return Outcome::PageFault(about | 9);
        }
        writable &= bit(entry, 1);
        for_user &= bit(entry, 2);
        no_execute |= nx && bit(entry, 63);
        used.push(at);
        table = page;
        if !leaf {
            continue;
        }
        let refused = if user {
            !for_user || write && !writable || fetch && no_execute
        } else {
            let data = !fetch && for_user && cr4(SMAP) && !bit(state.rflags, 18);
            let protected = write && !writable && state.cr0 & WP != 0;
            let prevented = fetch && (no_execute || for_user && cr4(SMEP));
            data || protected || prevented
        };
        if refused {
            return Outcome::PageFault(about | 1);
        }
        for used_at in &used {
            set(memory, *used_at, 1 << 5);
        }
        if write {
            set(memory, at, 1 << 6);
        }
        return Outcome::Address(page & !((1 << shift) - 1) | (linear % (1 << shift)));
    }
    unreachable!("the last level always ends it");
}

fn set(memory: &ModelMemory, at: u64, flags: u8) {
    let mut byte = [0];
    memory.read(at, &mut byte).unwrap();
    memory.write(at, &[byte[0] | flags]).unwrap();
}
