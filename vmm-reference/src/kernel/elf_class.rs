// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where the fields of an ELF file's headers are, which depends on whether its words have 32 or 64
//! bits.

use super::bytes::{u32_at, u64_at};

/// The width of addresses in an ELF file, and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Elf32,
    Elf64,
}

/// Offsets of the fields that are used, and lengths of the headers that they are in.
pub(super) struct Offsets {
    pub(super) header_len: u64,
    pub(super) entry: u64,
    pub(super) program_headers: u64,
    pub(super) section_headers: u64,
    /// Four 16-bit fields from here on: length and count of program headers, then of section
    /// headers.
    pub(super) counts: u64,
    pub(super) segment_len: u64,
    pub(super) segment_offset: u64,
    pub(super) segment_virtual: u64,
    pub(super) segment_physical: u64,
    pub(super) segment_in_file: u64,
    pub(super) segment_in_memory: u64,
    pub(super) segment_flags: u64,
    pub(super) section_len: u64,
    pub(super) section_offset: u64,
    pub(super) section_size: u64,
}

impl Class {
    pub(super) fn offsets(self) -> &'static Offsets {
        match self {
            Self::Elf32 => &Offsets {
                header_len: 52,
                entry: 24,
                program_headers: 28,
                section_headers: 32,
                counts: 42,
                segment_len: 32,
                segment_offset: 4,
                segment_virtual: 8,
                segment_physical: 12,
                segment_in_file: 16,
                segment_in_memory: 20,
                segment_flags: 24,
                section_len: 40,
                section_offset: 16,
                section_size: 20,
            },
            Self::Elf64 => &Offsets {
                header_len: 64,
                entry: 24,
                program_headers: 32,
                section_headers: 40,
                counts: 54,
                segment_len: 56,
                segment_offset: 8,
                segment_virtual: 16,
                segment_physical: 24,
                segment_in_file: 32,
                segment_in_memory: 40,
                segment_flags: 4,
                section_len: 64,
                section_offset: 24,
                section_size: 32,
            },
        }
    }

    /// An address, offset or size.
    pub(super) fn word_at(self, bytes: &[u8], offset: u64) -> Option<u64> {
        match self {
            Self::Elf32 => u32_at(bytes, offset).map(u64::from),
            Self::Elf64 => u64_at(bytes, offset),
        }
    }
}
