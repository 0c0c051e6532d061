// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! From a checked image into guest memory, by linux-loader, which does not know multiboot kernels. All of the placement is checked
//! first: when this fails, nothing was written.

use std::io::Cursor;
use std::ops::Range;

use linux_loader::loader::bootparam::setup_header;
use linux_loader::loader::{self, KernelLoader};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use super::bytes::slice;
use super::bzimage::BzImage;
use super::elf::{Elf, Segment};
use super::multiboot::Multiboot;
use super::{Format, Image, KernelError};
use crate::layout;

/// Where and how a loaded kernel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// In 32-bit protected mode without paging, by the PVH boot protocol.
    Pvh(GuestAddress),
    /// In 32-bit protected mode without paging, by the multiboot 1 protocol.
    Multiboot(GuestAddress),
    /// In long mode, by Linux's 64-bit boot protocol.
    Linux64(GuestAddress),
}

impl Entry {
    /// The address of the kernel's first instruction.
    pub fn address(&self) -> GuestAddress {
        match self {
            Self::Pvh(address) | Self::Multiboot(address) | Self::Linux64(address) => *address,
        }
    }
}

/// A kernel in guest memory.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedKernel {
    /// Its entry point.
    pub entry: Entry,
    /// The guest memory that it must have for itself when it starts.
    pub memory: Range<u64>,
    /// A bzImage's own setup header, to be handed back to it.
    pub setup_header: Option<setup_header>,
}

impl Image {
    /// Loads the kernel. No part of it may lie below `lowest`, nor below 1 MiB.
    ///
    /// # Errors
    /// [`KernelError`] when the kernel does not fit this memory. Nothing was written then.
    pub fn load(&self, memory: &GuestMemoryMmap, lowest: u64) -> Result<LoadedKernel, KernelError> {
        let lowest = lowest.max(layout::HIMEM_START);
        match &self.format {
            Format::Elf(elf) => load_elf(elf, &self.bytes, memory, lowest),
            Format::Multiboot(kernel) => load_multiboot(kernel, &self.bytes, memory, lowest),
            Format::BzImage(image) => load_bzimage(image, &self.bytes, memory, lowest),
        }
    }
}

fn load_elf(
    elf: &Elf,
    bytes: &[u8],
    memory: &GuestMemoryMmap,
    lowest: u64,
) -> Result<LoadedKernel, KernelError> {
    let place = check_segments(&elf.segments, memory, lowest)?;
    loader::Elf::load(memory, None, &mut Cursor::new(bytes), None).map_err(KernelError::Load)?;
    Ok(LoadedKernel {
        entry: match elf.pvh_entry {
            Some(entry) => Entry::Pvh(GuestAddress(entry.into())),
            None => Entry::Linux64(GuestAddress(elf.entry)),
        },
        memory: place,
        setup_header: None,
    })
}

fn load_multiboot(
    kernel: &Multiboot,
    bytes: &[u8],
    memory: &GuestMemoryMmap,
    lowest: u64,
) -> Result<LoadedKernel, KernelError> {
    let place = check_segments(&kernel.segments, memory, lowest)?;
    for segment in &kernel.segments {
        // It was checked to lie in the file. What it has of memory beyond that is zero already.
        let content = slice(bytes, segment.file.clone()).unwrap_or_default();
        memory
            .write_slice(content, GuestAddress(segment.memory.start))
            .map_err(KernelError::Write)?;
    }
    Ok(LoadedKernel {
        entry: Entry::Multiboot(GuestAddress(kernel.entry)),
        memory: place,
        setup_header: None,
    })
}

fn load_bzimage(
    image: &BzImage,
    bytes: &[u8],
    memory: &GuestMemoryMmap,
    lowest: u64,
) -> Result<LoadedKernel, KernelError> {
    /// Where the 64-bit entry point is in a kernel that has one.
    const ENTRY_64: u64 = 0x200;

    let at = |start: u64| start..start.saturating_add(image.init_size);
    let mut place = at(image.preferred_address);
    let mut fits = check_placement(&place, memory, lowest);
    if let (Err(_), Some(alignment)) = (&fits, image.relocatable) {
        place = at(lowest
            .checked_next_multiple_of(alignment)
            .unwrap_or(u64::MAX));
        fits = check_placement(&place, memory, lowest);
    }
    fits?;

    // The loader takes the kernel to reach to the end of the file; a signature may follow it.
    let file = bytes.get(..usize::try_from(image.kernel.end).unwrap_or(usize::MAX));
    let mut file = Cursor::new(file.unwrap_or(bytes));
    let start = GuestAddress(place.start);
    let loaded =
        loader::BzImage::load(memory, Some(start), &mut file, None).map_err(KernelError::Load)?;
    Ok(LoadedKernel {
        entry: Entry::Linux64(GuestAddress(place.start.saturating_add(ENTRY_64))),
        memory: place,
        setup_header: loaded.setup_header,
    })
}

/// Are all of `segments` memory, and at or above `lowest`? Returns what they span.
fn check_segments(
    segments: &[Segment],
    memory: &GuestMemoryMmap,
    lowest: u64,
) -> Result<Range<u64>, KernelError> {
    for segment in segments {
        check_placement(&segment.memory, memory, lowest)?;
    }
    // They are sorted, and an entry point lies in one of them: there is a first one.
    let start = segments.first().map_or(0, |segment| segment.memory.start);
    let end = segments.last().map_or(0, |segment| segment.memory.end);
    Ok(start..end)
}

/// Is all of `place` memory, and at or above `lowest`?
fn check_placement(
    place: &Range<u64>,
    memory: &GuestMemoryMmap,
    lowest: u64,
) -> Result<(), KernelError> {
    if place.start < lowest {
        return Err(KernelError::TooLow {
            start: place.start,
            lowest,
        });
    }
    let limit = layout::MMIO_GAP.start;
    if place.end > limit {
        return Err(KernelError::TooHigh {
            segment: place.clone(),
            limit,
        });
    }
    let len = usize::try_from(place.end - place.start).unwrap_or(usize::MAX);
    if memory.check_range(GuestAddress(place.start), len) {
        return Ok(());
    }
    let ends = memory.iter().map(layout::end_of);
    Err(KernelError::TooLargeForMemory {
        end: place.end,
        ram_end: ends.filter(|end| *end <= limit).max().unwrap_or(0),
    })
}
