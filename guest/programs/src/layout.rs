// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where things are in the guest's memory. Linear and physical addresses are the same in each mode, and
//! all of it is below 64 KiB, where real mode reaches it with segments of base 0.

/// Bytes of memory that the guest needs, from address 0.
pub const SIZE: usize = 0x2_0000;

/// Real mode's table of vectors.
pub(crate) const IVT: u64 = 0;
pub(crate) const GDT: u64 = 0x800;
pub(crate) const TSS: u64 = 0x900;
/// The other modes' table of gates.
pub(crate) const IDT: u64 = 0x1000;
pub(crate) const PML4: u64 = 0x2000;
pub(crate) const PDPT: u64 = 0x3000;
pub(crate) const PD: u64 = 0x4000;
/// A 32-bit counter for each vector.
pub(crate) const COUNTERS: u64 = 0x5000;
/// The 32-bit word that the programs count in.
pub(crate) const PROGRESS: u64 = 0x5400;

/// What the assembler made, see the `code` module. It begins with the stubs.
pub(crate) const CODE: u64 = 0x6000;
pub(crate) const STUBS: u64 = CODE;
/// Bytes from one vector's stub to the next's.
pub(crate) const STUB: u64 = 32;
pub(crate) const SLED: u64 = STUBS + 256 * STUB;
/// One-byte NOPs before the sled's loop.
pub(crate) const SLED_NOPS: u64 = 4096;
pub(crate) const PROGRAMS: u64 = 0xa000;
/// Bytes from one program to the next.
pub(crate) const PROGRAM: u64 = 32;

/// The stacks are one behind the other: the program's, then those of [`IST_VECTORS`].
pub(crate) const STACKS: u64 = 0xb000;
pub(crate) const STACK_SIZE: u64 = 0x1000;
/// The stack pointer that a program begins with. It is 16-byte aligned.
pub const STACK_TOP: u64 = STACKS + STACK_SIZE;
/// The vectors with a stack of their own, for IST1, IST2 and IST3: NMI, double fault, general
/// protection.
pub(crate) const IST_VECTORS: [u8; 3] = [2, 8, 13];
pub(crate) const STACKS_END: u64 = STACK_TOP + STACK_SIZE * IST_VECTORS.len() as u64;

/// Which of the interrupt stack table's entries `vector` has: 1, 2 or 3.
pub(crate) fn ist_index(vector: u8) -> Option<u8> {
    (1..)
        .zip(IST_VECTORS)
        .find_map(|(index, with_stack)| (with_stack == vector).then_some(index))
}

/// The top of the stack of an interrupt stack table's entry.
pub(crate) fn ist_top(index: u8) -> u64 {
    STACK_TOP + STACK_SIZE * u64::from(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_overlaps() {
        let parts = [
            (IVT, 0x400),
            (GDT, 5 * 8),
            (TSS, 0x68),
            (IDT, 256 * 16),
            (PML4, 0x1000),
            (PDPT, 0x1000),
            (PD, 0x1000),
            (COUNTERS, 256 * 4),
            (PROGRESS, 4),
            (STUBS, 256 * STUB),
            (SLED, SLED_NOPS + 16),
            (PROGRAMS, 5 * PROGRAM),
            (STACKS, STACKS_END - STACKS),
        ];
        for pair in parts.windows(2) {
            let [(first, size), (second, _)] = pair else {
                unreachable!()
            };
            assert!(
                first + size <= *second,
                "{first:#x} + {size:#x}, {second:#x}"
            );
        }
        const { assert!(STACKS_END <= 0x1_0000 && 0x1_0000 <= SIZE) };
    }

    #[test]
    fn each_ist_stack_is_its_own() {
        assert_eq!(ist_index(2).map(ist_top), Some(STACK_TOP + STACK_SIZE));
        assert_eq!(ist_index(8).map(ist_top), Some(STACK_TOP + 2 * STACK_SIZE));
        assert_eq!(ist_index(13).map(ist_top), Some(STACKS_END));
        assert_eq!(ist_index(14), None);
    }
}
