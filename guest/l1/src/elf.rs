// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest as an ELF file that loaders of kernels take: with the PVH note, and with a multiboot 1
//! header within the first 8 KiB.

use crate::layout;

const HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;
/// The note: sizes of name and value, type, name, value.
const NOTE: u64 = HEADER + 2 * PROGRAM_HEADER;
const NOTE_SIZE: u64 = 12 + 4 + 4;
/// XEN_ELFNOTE_PHYS32_ENTRY of Xen's `elfnote.h`: the address that PVH loaders jump to.
const PHYS32_ENTRY: u32 = 18;
/// Where the image is in the file.
const IMAGE: u64 = 0x1000;

/// The file with this image.
pub fn elf(image: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    // ELF64, little-endian, version 1.
    file.extend(b"\x7fELF\x02\x01\x01");
    file.resize(16, 0);
    // An executable for x86-64, version 1.
    half(&mut file, 2);
    half(&mut file, 62);
    word(&mut file, 1);
    // Entry point; program headers; no sections; no flags.
    long(&mut file, layout::CODE);
    long(&mut file, HEADER);
    long(&mut file, 0);
    word(&mut file, 0);
    for value in [HEADER, PROGRAM_HEADER, 2, 0, 0, 0] {
        half(&mut file, value as u16);
    }
    // PT_LOAD, readable, writable and executable. The memory that the guest uses is part of it.
    word(&mut file, 1);
    word(&mut file, 7);
    let in_memory = layout::BSS_END - layout::IMAGE.start;
    for value in [
        IMAGE,
        layout::IMAGE.start,
        layout::IMAGE.start,
        image.len() as u64,
        in_memory,
        0x1000,
    ] {
        long(&mut file, value);
    }
    // PT_NOTE, readable.
    word(&mut file, 4);
    word(&mut file, 4);
    for value in [NOTE, 0, 0, NOTE_SIZE, NOTE_SIZE, 4] {
        long(&mut file, value);
    }
    word(&mut file, 4);
    word(&mut file, 4);
    word(&mut file, PHYS32_ENTRY);
    file.extend(b"Xen\0");
    word(&mut file, layout::CODE as u32);
    file.resize(IMAGE as usize, 0);
    file.extend(image);
    file
}

fn half(file: &mut Vec<u8>, value: u16) {
    file.extend(value.to_le_bytes());
}

fn word(file: &mut Vec<u8>, value: u32) {
    file.extend(value.to_le_bytes());
}

fn long(file: &mut Vec<u8>, value: u64) {
    file.extend(value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_multiboot_header_is_where_loaders_look() {
        let file = elf(&crate::image::image(crate::image::Mode::Scenarios));
        let found = file[..8192]
            .chunks(4)
            .any(|word| word == 0x1bad_b002_u32.to_le_bytes());
        assert!(found);
    }
}
