// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Small images that are complete in every respect, made here byte by byte.

use std::io::Write;

use crate::kernel::lz4_legacy;

/// Where the sample's two segments are loaded.
pub const TEXT: u64 = 0x100_0000;
pub const DATA: u64 = 0x120_0000;
pub const TEXT_LEN: u64 = 0x180;
pub const DATA_LEN: u64 = 0x60;
/// Of which the file holds less.
pub const DATA_MEMORY_LEN: u64 = 0x1000;
pub const PVH_ENTRY: u32 = 0x100_0010;

/// Offsets of the sample's headers, for tests that change them.
pub const PROGRAM_HEADERS: usize = 64;
pub const NOTE: usize = 0x100;
pub const TEXT_AT: usize = 0x140;
const DATA_AT: u64 = TEXT_AT as u64 + TEXT_LEN;
const SECTIONS_AT: u64 = DATA_AT + DATA_LEN;

/// An ELF kernel with two segments, a PVH note and a section table at its end.
pub fn elf() -> Vec<u8> {
    let mut image = vec![0; SECTIONS_AT as usize + 2 * 64];
    let mut put =
        |at: u64, bytes: &[u8]| image[at as usize..][..bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &[2, 0, 62, 0, 1, 0, 0, 0]);
    put(24, &TEXT.to_le_bytes());
    put(32, &(PROGRAM_HEADERS as u64).to_le_bytes());
    put(40, &SECTIONS_AT.to_le_bytes());
    put(52, &[64, 0, 56, 0, 3, 0, 64, 0, 2, 0, 0, 0]);
    for (index, (kind, file, memory, file_len, memory_len)) in [
        (1u32, TEXT_AT as u64, TEXT, TEXT_LEN, TEXT_LEN),
        (1, DATA_AT, DATA, DATA_LEN, DATA_MEMORY_LEN),
        (4, NOTE as u64, 0, 20, 20),
    ]
    .into_iter()
    .enumerate()
    {
        let at = (PROGRAM_HEADERS + index * 56) as u64;
        put(at, &kind.to_le_bytes());
        for (offset, word) in [(8, file), (24, memory), (32, file_len), (40, memory_len)] {
            put(at + offset, &u64::to_le_bytes(word));
        }
    }
    put(NOTE as u64, &[4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0]);
    put(NOTE as u64 + 12, b"Xen\0");
    put(NOTE as u64 + 16, &PVH_ENTRY.to_le_bytes());
    let code: Vec<u8> = (0..TEXT_LEN + DATA_LEN)
        .map(|i| (i * 37 % 251) as u8)
        .collect();
    put(TEXT_AT as u64, &code);
    // The second section header names all up to the table itself.
    put(SECTIONS_AT + 64 + 4, &1u32.to_le_bytes());
    put(SECTIONS_AT + 64 + 24, &(TEXT_AT as u64).to_le_bytes());
    put(SECTIONS_AT + 64 + 32, &(TEXT_LEN + DATA_LEN).to_le_bytes());
    image
}

/// What the sample's text segment holds.
pub fn text() -> Vec<u8> {
    elf()[TEXT_AT..][..TEXT_LEN as usize].to_vec()
}

/// A bzImage with this payload, and an EFI signature behind the kernel.
pub fn bzimage(payload: &[u8]) -> Vec<u8> {
    const SETUP: usize = 2 * 512;
    const PE: usize = 0x80;
    let payload_at = 0x240;
    let kernel_len = (payload_at + payload.len()).next_multiple_of(16);
    let mut image = vec![0; SETUP + kernel_len + 24];
    let mut put = |at: usize, bytes: &[u8]| image[at..][..bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &(PE as u32).to_le_bytes());
    put(PE, b"PE\0\0");
    put(PE + 24, &0x20bu16.to_le_bytes());
    put(PE + 24 + 144, &((SETUP + kernel_len) as u32).to_le_bytes());
    put(PE + 24 + 148, &24u32.to_le_bytes());
    put(0x1f1, &[1]);
    put(0x1f4, &((kernel_len / 16) as u32).to_le_bytes());
    put(0x1fe, &[0x55, 0xaa]);
    put(0x202, b"HdrS");
    put(0x206, &0x20fu16.to_le_bytes());
    put(0x211, &[1]);
    put(0x214, &0x10_0000u32.to_le_bytes());
    put(0x22c, &0x7fff_ffffu32.to_le_bytes());
    put(0x230, &0x20_0000u32.to_le_bytes());
    put(0x234, &[1]);
    put(0x236, &1u16.to_le_bytes());
    put(0x238, &2047u32.to_le_bytes());
    put(0x248, &(payload_at as u32).to_le_bytes());
    put(0x24c, &(payload.len() as u32).to_le_bytes());
    put(0x258, &TEXT.to_le_bytes());
    put(0x260, &0x30_0000u32.to_le_bytes());
    put(SETUP + payload_at, payload);
    image
}

/// `data` as Linux's build packs it: all but gzip with the length behind.
pub fn packed(data: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let with_len = |mut bytes: Vec<u8>| {
        bytes.extend_from_slice(&(data.len() as u32).to_le_bytes());
        bytes
    };
    vec![
        ("uncompressed", data.to_vec()),
        ("gzip", gzip(data)),
        ("xz", with_len(xz(data))),
        ("lz4", with_len(lz4(data))),
        ("zstd", with_len(zstd(data))),
    ]
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn xz(data: &[u8]) -> Vec<u8> {
    let mut options = lzma_rust2::XzOptions::with_preset(6);
    options.set_check_sum_type(lzma_rust2::CheckType::Crc32);
    options.prepend_pre_filter(lzma_rust2::filter::FilterType::BcjX86, 0);
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn lz4(data: &[u8]) -> Vec<u8> {
    let mut frame = lz4_legacy::MAGIC.to_vec();
    // Two blocks, so that the second one's header is read too.
    for block in data.chunks(data.len().div_ceil(2)) {
        let block = lz4_flex::block::compress(block);
        frame.extend_from_slice(&(block.len() as u32).to_le_bytes());
        frame.extend_from_slice(&block);
    }
    frame
}

fn zstd(data: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(data, ruzstd::encoding::CompressionLevel::Fastest)
}

/// What a multiboot sample is entered at: writes to a port and halts.
pub const MULTIBOOT_CODE: [u8; 5] = [0xb0, b'x', 0xe6, 0xf4, 0xf4];

/// Magic, flags and checksum.
pub fn multiboot_header(flags: u32) -> [[u8; 4]; 3] {
    const MAGIC: u32 = 0x1bad_b002;
    let checksum = 0u32.wrapping_sub(MAGIC).wrapping_sub(flags);
    [MAGIC, flags, checksum].map(u32::to_le_bytes)
}

/// `image` with the note of PVH made one of another type.
pub fn without_pvh_note(mut image: Vec<u8>) -> Vec<u8> {
    let name = image
        .windows(8)
        .position(|bytes| bytes == b"\x12\0\0\0Xen\0")
        .unwrap();
    image[name] = 0;
    image
}

/// An ELF kernel with a multiboot header, which code follows, in its first segment.
#[derive(Clone)]
pub struct MultibootElf {
    bits: u32,
    pub machine: u16,
    pub flags: u32,
    pub entry: u64,
    pub linked: u64,
    pub physical: u64,
    pub in_memory: u64,
    /// A second segment, of one byte, is loaded here.
    pub second: Option<u64>,
    pub second_kind: u32,
    pub second_flags: u32,
}

impl MultibootElf {
    /// A good one of 32 or 64 bits.
    pub fn new(bits: u32) -> Self {
        Self {
            bits,
            machine: if bits == 32 { 3 } else { 62 },
            flags: 3,
            entry: 0x10_000c,
            linked: 0x10_0000,
            physical: 0x10_0000,
            in_memory: 0x1000,
            second: None,
            second_kind: 1,
            second_flags: 4,
        }
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let (header_len, segment_len) = if self.bits == 32 { (52, 32) } else { (64, 56) };
        let count = 1 + u16::from(self.second.is_some());
        let code_at = header_len + segment_len * u64::from(count);
        let mut file = b"\x7fELF\0\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        file[4] = (self.bits / 32) as u8;
        let word = |value: u64| value.to_le_bytes()[..if self.bits == 32 { 4 } else { 8 }].to_vec();
        file.extend([2u16, self.machine].map(u16::to_le_bytes).concat());
        file.extend(1u32.to_le_bytes());
        for value in [self.entry, header_len, 0] {
            file.extend(word(value));
        }
        file.extend(0u32.to_le_bytes());
        for value in [header_len as u16, segment_len as u16, count, 0, 0, 0] {
            file.extend(value.to_le_bytes());
        }
        let mut segment = |kind: u32, flags: u32, linked, physical, in_file, in_memory| {
            file.extend(kind.to_le_bytes());
            if self.bits == 64 {
                file.extend(flags.to_le_bytes());
            }
            for value in [code_at, linked, physical, in_file, in_memory] {
                file.extend(word(value));
            }
            if self.bits == 32 {
                file.extend(flags.to_le_bytes());
            }
            file.extend(word(4));
        };
        let in_file = 12 + MULTIBOOT_CODE.len() as u64;
        segment(1, 7, self.linked, self.physical, in_file, self.in_memory);
        if let Some(second) = self.second {
            segment(self.second_kind, self.second_flags, second, second, 1, 1);
        }
        file.extend(multiboot_header(self.flags).concat());
        file.extend(MULTIBOOT_CODE);
        file
    }
}
