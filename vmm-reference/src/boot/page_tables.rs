// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Page tables for a kernel that is entered in long mode: the first 4 GiB at their own addresses,
//! in pages of 2 MiB. The kernel, its boot parameters, command line and initrd are all there.

use vm_memory::{Bytes, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use crate::layout::BOOT_PML4;

const TABLE_LEN: u64 = 4096;
const ENTRIES: u64 = 512;
const DIRECTORIES: u64 = 4;
const PDPT: u64 = BOOT_PML4 + TABLE_LEN;
const DIRECTORY: u64 = PDPT + TABLE_LEN;

const PRESENT_WRITABLE: u64 = 0b11;
const LARGE_PAGE: u64 = 1 << 7;
const LARGE_PAGE_LEN: u64 = 2 << 20;

/// Writes the tables; CR3 is to hold [`BOOT_PML4`].
pub(super) fn write(memory: &GuestMemoryMmap) -> Result<(), GuestMemoryError> {
    memory.write_obj(PDPT | PRESENT_WRITABLE, GuestAddress(BOOT_PML4))?;
    for index in 0..DIRECTORIES {
        let entry = (DIRECTORY + index * TABLE_LEN) | PRESENT_WRITABLE;
        memory.write_obj(entry, GuestAddress(PDPT + index * 8))?;
    }
    for index in 0..DIRECTORIES * ENTRIES {
        let entry = (index * LARGE_PAGE_LEN) | LARGE_PAGE | PRESENT_WRITABLE;
        memory.write_obj(entry, GuestAddress(DIRECTORY + index * 8))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Walks the tables as the processor does.
    fn translate(memory: &GuestMemoryMmap, address: u64) -> Option<u64> {
        let mut table = BOOT_PML4;
        for shift in [39, 30, 21] {
            let index = address >> shift & 0x1ff;
            let entry: u64 = memory.read_obj(GuestAddress(table + index * 8)).unwrap();
            if entry & PRESENT_WRITABLE != PRESENT_WRITABLE {
                return None;
            }
            table = entry & 0x000f_ffff_ffff_f000;
            if entry & LARGE_PAGE != 0 {
                return Some(table + (address & (LARGE_PAGE_LEN - 1)));
            }
        }
        None
    }

    proptest! {
        #[test]
        fn four_gib_are_mapped_to_themselves(below in 0u64..1 << 32, above in 1u64 << 32..1 << 47) {
            let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
            write(&memory).unwrap();
            prop_assert_eq!(translate(&memory, below), Some(below));
            prop_assert_eq!(translate(&memory, above), None);
        }
    }
}
