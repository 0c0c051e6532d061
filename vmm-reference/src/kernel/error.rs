// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Why a kernel image is refused. A message begins where "the kernel …" left off.

use std::ops::Range;

use thiserror::Error;

use super::Compression;
use crate::image_file::FileError;

/// A kernel image that can't be booted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The file itself is the problem.
    #[error(transparent)]
    File(#[from] FileError),
    /// Nothing that this VMM boots.
    #[error(
        "is not a kernel: neither an ELF vmlinux, nor a bzImage vmlinuz, nor has it a multiboot header"
    )]
    NotAKernel,
    /// An ELF file that a kernel is to execute.
    #[error("is a program that runs on a kernel, not a kernel")]
    Program,
    /// A compressed file that is not a bzImage.
    #[error("is a {0} file, not a kernel; unpack it, or use the vmlinuz itself")]
    Packed(Compression),
    /// A kernel for another machine.
    #[error("is for {0}; an x86-64 kernel is needed")]
    WrongArchitecture(String),
    /// A 32-bit x86 kernel that offers no protocol by which it is entered in 32-bit mode.
    #[error(
        "is for 32-bit x86 and has no multiboot header within its first 8192 bytes; an x86-64 kernel or a multiboot kernel is needed"
    )]
    Only32Bit,
    /// Something that begins as a multiboot header does.
    #[error(
        "has a multiboot header at byte {offset:#x} whose checksum is wrong; magic, flags and checksum must add up to 0"
    )]
    MultibootChecksum {
        /// Where in the file.
        offset: u64,
    },
    /// The multiboot header demands what this VMM does not know.
    #[error(
        "demands by its multiboot header what this VMM does not know: flags {unknown:#x}; clear them (0x3 and 0x10000 are known)"
    )]
    MultibootFlags {
        /// Those among the mandatory ones.
        unknown: u32,
    },
    /// The multiboot header demands a video mode.
    #[error(
        "demands a video mode by its multiboot header, and this machine has a serial console only; clear flag 0x4 of the header"
    )]
    MultibootVideo,
    /// The address fields of the multiboot header make no sense.
    #[error(
        "has wrong address fields in its multiboot header: {0}; correct them, or clear flag 0x10000 of the header and link an ELF file"
    )]
    MultibootAddresses(&'static str),
    /// The multiboot header does not say how the file is to be loaded.
    #[error(
        "has a multiboot header without address fields and is not an ELF file; link it as one, or set flag 0x10000 of the header and its address fields"
    )]
    MultibootNotElf,
    /// The end is missing.
    #[error("is truncated: it has {len} bytes and its {what} ends at byte {needed}; copy it again")]
    Truncated {
        /// What is cut off.
        what: &'static str,
        /// The file's length.
        len: u64,
        /// The length that is needed.
        needed: u64,
    },
    /// A header contradicts itself.
    #[error("is damaged: {0}")]
    Damaged(&'static str),
    /// Two segments want the same memory.
    #[error("is damaged: segments {first:#x?} and {second:#x?} overlap")]
    Overlap {
        /// One.
        first: Range<u64>,
        /// The other.
        second: Range<u64>,
    },
    /// The kernel's first instruction is nowhere.
    #[error("is damaged: its entry point {entry:#x} lies in none of its segments")]
    EntryOutside {
        /// The entry point.
        entry: u64,
    },
    /// The payload is compressed in a way that this VMM does not know, or with a dictionary that is
    /// larger than any that Linux's own build uses.
    #[error(
        "is compressed with {0} in a way that can't be unpacked here (gzip, xz, lz4 and zstd can)"
    )]
    Unsupported(Compression),
    /// The bzImage holds no payload that can be taken out.
    #[error("has no payload that can be unpacked here")]
    NoPayload,
    /// The payload can't be decompressed.
    #[error("is damaged: its {compression} payload: {reason}")]
    Decompress {
        /// How it is compressed.
        compression: Compression,
        /// What the decoder says.
        reason: String,
    },
    /// The payload is larger than can be useful.
    #[error(
        "unpacks to more than {limit} bytes, the most allowed (the guest's memory, 512 MiB at most); raise --memory size_mib"
    )]
    TooLargeUnpacked {
        /// The limit.
        limit: u64,
    },
    /// The guest's memory ends too early.
    #[error(
        "needs guest memory up to {end:#x}, and the guest's ends at {ram_end:#x}; raise --memory size_mib"
    )]
    TooLargeForMemory {
        /// Where the kernel would end.
        end: u64,
        /// Where memory below the devices ends.
        ram_end: u64,
    },
    /// A segment lies where devices are or above, which the kernel's first page tables and the
    /// 32-bit protocols do not reach.
    #[error(
        "has a segment at {segment:#x?}; a kernel must lie below {limit:#x}, where devices begin"
    )]
    TooHigh {
        /// The segment.
        segment: Range<u64>,
        /// Where devices begin.
        limit: u64,
    },
    /// A segment lies below the lowest address allowed.
    #[error(
        "begins at {start:#x}, below {lowest:#x}, where a kernel may begin (kernel_load_addr, 1 MiB at least)"
    )]
    TooLow {
        /// Where the kernel begins.
        start: u64,
        /// Where it may.
        lowest: u64,
    },
    /// The loader refused what was checked here.
    #[error("can't be loaded: {0}")]
    Load(linux_loader::loader::Error),
    /// So did guest memory.
    #[error("can't be written to guest memory: {0}")]
    Write(vm_memory::GuestMemoryError),
}
