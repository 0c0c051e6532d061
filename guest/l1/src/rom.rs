// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest as a ROM, for a machine without firmware: the processor starts in it.

use crate::{code, layout};

/// The size of the ROM, which ends at 4 GiB.
pub(crate) const SIZE: u64 = 0x10_0000;
/// Where the image is in the processor's memory.
pub(crate) const ADDRESS: u64 = 0x1_0000_0000 - SIZE;
/// Where the instructions are that copy it, from the beginning of the last 64 KiB.
pub(crate) const STUB: u64 = 0xff00;
/// Where a processor begins, from the same place.
const RESET: u64 = 0xfff0;

/// The ROM with this image.
pub fn rom(image: &[u8]) -> Vec<u8> {
    let last = (SIZE - 0x1_0000) as usize;
    let mut rom = vec![0xff; SIZE as usize];
    rom[..image.len()].copy_from_slice(image);
    let stub = code::rom_stub();
    let at = last + STUB as usize;
    rom[at..at + stub.len()].copy_from_slice(stub);
    // JMP with a 16-bit displacement from its end.
    let jump = (STUB as u16).wrapping_sub(RESET as u16 + 3).to_le_bytes();
    let at = last + RESET as usize;
    rom[at..at + 3].copy_from_slice(&[0xe9, jump[0], jump[1]]);
    rom
}

const _: () = assert!(layout::IMAGE.end - layout::IMAGE.start <= SIZE - 0x1_0000);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instructions_end_before_the_reset_vector() {
        assert!(STUB + code::rom_stub().len() as u64 <= RESET);
    }

    #[test]
    fn the_reset_vector_jumps_to_the_instructions() {
        let image = vec![0; 16];
        let rom = rom(&image);
        let jump = &rom[rom.len() - 16..][..3];
        assert_eq!(jump[0], 0xe9);
        let displacement = u16::from_le_bytes([jump[1], jump[2]]);
        let target = (RESET as u16 + 3).wrapping_add(displacement);
        let at = rom.len() - 0x1_0000 + usize::from(target);
        assert!(rom[at..].starts_with(code::rom_stub()));
    }
}
