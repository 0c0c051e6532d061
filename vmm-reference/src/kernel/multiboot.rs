// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Multiboot 1 kernels: the header within a file's first 8 KiB, and what it makes of the file
//! (Multiboot Specification version 0.6.96, chapter 3.1).
//!
//! The crate `multiboot` reads such headers too, but it panics at addresses that make no sense and
//! at a wrong checksum.

use super::bytes::u32_at;
use super::elf::{Elf, Segment};
use super::{KernelError, elf};

/// The header lies within this much of the file.
const SEARCHED: u64 = 8192;

const MAGIC: u32 = 0x1bad_b002;
/// Magic, flags, checksum.
const HEADER_LEN: u64 = 12;
/// With the address fields.
const WITH_ADDRESSES: u64 = 32;

/// Modules begin at pages: they do here, always.
const PAGE_ALIGNED: u32 = 1 << 0;
/// The memory's size is to be told: it is, always.
const MEMORY: u32 = 1 << 1;
/// A video mode is to be set.
const VIDEO: u32 = 1 << 2;
/// The flags that a loader must know, or refuse the kernel.
const MANDATORY: u32 = 0xffff;
/// The address fields are there, and hold instead of what the file says otherwise.
const ADDRESSES: u32 = 1 << 16;

/// A header whose checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Where in the file it is.
    offset: u64,
    flags: u32,
}

/// What booting needs to know of a multiboot kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Multiboot {
    /// Its 32-bit entry point, a physical address.
    pub(super) entry: u64,
    /// What is loaded where, in ascending order.
    pub(super) segments: Vec<Segment>,
}

/// Looks for a header. An error when there is a magic word, and none with its checksum.
pub(super) fn find(bytes: &[u8]) -> Result<Option<Header>, KernelError> {
    let mut wrong = None;
    for offset in (0..=SEARCHED - HEADER_LEN).step_by(4) {
        let (Some(magic), Some(flags), Some(checksum)) = (
            u32_at(bytes, offset),
            u32_at(bytes, offset + 4),
            u32_at(bytes, offset + 8),
        ) else {
            break;
        };
        if magic != MAGIC {
            continue;
        }
        if magic.wrapping_add(flags).wrapping_add(checksum) == 0 {
            return Ok(Some(Header { offset, flags }));
        }
        wrong.get_or_insert(offset);
    }
    match wrong {
        Some(offset) => Err(KernelError::MultibootChecksum { offset }),
        None => Ok(None),
    }
}

impl Header {
    /// Is the file loaded by what this header says, and not as an ELF file?
    pub(super) fn has_addresses(&self) -> bool {
        self.flags & ADDRESSES != 0
    }

    /// The kernel that `bytes` hold by this header; `elf` is what they hold as an ELF file.
    pub(super) fn kernel(self, bytes: &[u8], elf: Option<Elf>) -> Result<Multiboot, KernelError> {
        if self.flags & VIDEO != 0 {
            return Err(KernelError::MultibootVideo);
        }
        let unknown = self.flags & MANDATORY & !(PAGE_ALIGNED | MEMORY);
        if unknown != 0 {
            return Err(KernelError::MultibootFlags { unknown });
        }
        if self.has_addresses() {
            return self.flat(bytes);
        }
        let elf = elf.ok_or(KernelError::MultibootNotElf)?;
        Ok(Multiboot {
            entry: elf.physical_entry()?,
            segments: elf.segments,
        })
    }

    /// A file that is loaded as it is: one segment.
    fn flat(self, bytes: &[u8]) -> Result<Multiboot, KernelError> {
        let wrong = |what| Err(KernelError::MultibootAddresses(what));
        let len = bytes.len() as u64;
        let header_end = self.offset + WITH_ADDRESSES;
        if header_end > SEARCHED {
            return wrong("they are not within the first 8192 bytes");
        }
        if header_end > len {
            return Err(elf::truncated("multiboot header", bytes, header_end));
        }
        // They were seen to be in the file.
        let field = |index: u64| {
            let at = self.offset + HEADER_LEN + 4 * index;
            u64::from(u32_at(bytes, at).unwrap_or_default())
        };
        let (header_addr, load_addr, load_end) = (field(0), field(1), field(2));
        let (bss_end, entry) = (field(3), field(4));
        let before_header = header_addr.checked_sub(load_addr);
        let Some(start) = before_header.and_then(|before| self.offset.checked_sub(before)) else {
            return wrong("load_addr and header_addr name a place before the file's first byte");
        };
        let end = match load_end.checked_sub(load_addr) {
            // To the end of the file.
            _ if load_end == 0 => len,
            Some(count) if count > 0 => start + count,
            _ => return wrong("load_end_addr is not above load_addr"),
        };
        if end > len {
            return Err(elf::truncated("multiboot image", bytes, end));
        }
        let loaded_end = load_addr + (end - start);
        // 0: nothing behind what is loaded.
        if bss_end != 0 && bss_end < loaded_end {
            return wrong("bss_end_addr is below the end of what is loaded");
        }
        let memory = load_addr..bss_end.max(loaded_end);
        if !memory.contains(&entry) {
            return Err(KernelError::EntryOutside { entry });
        }
        Ok(Multiboot {
            entry,
            segments: vec![Segment::flat(start..end, memory)],
        })
    }
}
