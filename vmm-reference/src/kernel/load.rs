// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! From a checked image into guest memory, by linux-loader. All of the placement is checked
//! first: when this fails, nothing was written.

use std::io::Cursor;
use std::ops::Range;

use linux_loader::loader::bootparam::setup_header;
use linux_loader::loader::{self, KernelLoader};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use super::bzimage::BzImage;
use super::elf::Elf;
use super::{Format, Image, KernelError};
use crate::layout;

/// Where and how a loaded kernel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// In 32-bit protected mode without paging, by the PVH boot protocol.
    Pvh(GuestAddress),
    /// In long mode, by Linux's 64-bit boot protocol.
    Linux64(GuestAddress),
}

impl Entry {
    /// The address of the kernel's first instruction.
    pub fn address(&self) -> GuestAddress {
        match self {
            Self::Pvh(address) | Self::Linux64(address) => *address,
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
    for segment in &elf.segments {
        check_placement(segment, memory, lowest)?;
    }
    // The segments are sorted, and an entry point lies in one of them: there is a first one.
    let start = elf.segments.first().map_or(0, |segment| segment.start);
    let end = elf.segments.last().map_or(0, |segment| segment.end);
    loader::Elf::load(memory, None, &mut Cursor::new(bytes), None).map_err(KernelError::Load)?;
    Ok(LoadedKernel {
        entry: match elf.pvh_entry {
            Some(entry) => Entry::Pvh(GuestAddress(entry.into())),
            None => Entry::Linux64(GuestAddress(elf.entry)),
        },
        memory: start..end,
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
