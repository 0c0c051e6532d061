// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A bzImage `vmlinuz`: where its parts are, by the x86 boot protocol's setup header
//! (Documentation/arch/x86/boot.rst), and whether the file holds all of them.

use std::ops::Range;

use super::KernelError;
use super::bytes::{slice, u16_at, u32_at, u64_at};

const BOOT_FLAG: u64 = 0x1fe;
const HEADER_MAGIC: u64 = 0x202;
/// Offsets of the setup header's fields, and of the first byte after the last one used here.
const SETUP_SECTS: usize = 0x1f1;
const SYSSIZE: u64 = 0x1f4;
const VERSION: u64 = 0x206;
const LOADFLAGS: usize = 0x211;
const KERNEL_ALIGNMENT: u64 = 0x230;
const RELOCATABLE: usize = 0x234;
const XLOADFLAGS: u64 = 0x236;
const CMDLINE_SIZE: u64 = 0x238;
const PAYLOAD_OFFSET: u64 = 0x248;
const PAYLOAD_LENGTH: u64 = 0x24c;
const PREF_ADDRESS: u64 = 0x258;
const INIT_SIZE: u64 = 0x260;
const HEADER_END: u64 = 0x264;

/// The kernel is loaded at 1 MiB or above.
const LOADED_HIGH: u8 = 1;
/// It has a 64-bit entry point at 0x200.
const KERNEL_64: u16 = 1;
/// The first version with `xloadflags`, Linux 3.8.
const VERSION_XLOADFLAGS: u16 = 0x20c;

/// What booting needs to know of a bzImage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BzImage {
    /// Where the protected-mode kernel is in the file.
    pub(super) kernel: Range<u64>,
    /// Where the compressed payload is in the file.
    pub(super) payload: Range<u64>,
    /// The address that the kernel prefers to be loaded at.
    pub(super) preferred_address: u64,
    /// The alignment that it needs elsewhere; `None` if it can't be elsewhere.
    pub(super) relocatable: Option<u64>,
    /// How much memory it needs from its load address on, until it reads its memory map.
    pub(super) init_size: u64,
    /// The longest command line that it reads.
    pub(super) cmdline_size: u32,
}

/// Does `bytes` begin as a bzImage does?
pub(super) fn is_bzimage(bytes: &[u8]) -> bool {
    u16_at(bytes, BOOT_FLAG) == Some(0xaa55)
        && slice(bytes, HEADER_MAGIC..HEADER_MAGIC + 4) == Some(b"HdrS")
}

impl BzImage {
    /// Checks all of `bytes`, which [`is_bzimage`].
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, KernelError> {
        let len = bytes.len() as u64;
        let truncated = |what, needed| KernelError::Truncated { what, len, needed };
        if len < HEADER_END {
            return Err(truncated("setup header", HEADER_END));
        }
        // All fields are inside `HEADER_END`.
        let word = |offset| u32_at(bytes, offset).unwrap_or_default();
        let version = u16_at(bytes, VERSION).unwrap_or_default();
        if version < VERSION_XLOADFLAGS || bytes[LOADFLAGS] & LOADED_HIGH == 0 {
            return Err(KernelError::WrongArchitecture(
                "a boot protocol from before Linux 3.8".into(),
            ));
        }
        if u16_at(bytes, XLOADFLAGS).unwrap_or_default() & KERNEL_64 == 0 {
            return Err(KernelError::WrongArchitecture("32-bit x86".into()));
        }

        // A setup header from before sectors were counted says 0 and means 4.
        let sectors = match bytes[SETUP_SECTS] {
            0 => 4,
            sectors => u64::from(sectors),
        };
        let start = (sectors + 1) * 512;
        let end = start + u64::from(word(SYSSIZE)) * 16;
        if end > len {
            return Err(truncated("kernel", end));
        }
        if let Some(signature) = signature_end(bytes).filter(|end| *end > len) {
            return Err(truncated("signature", signature));
        }
        let payload = start + u64::from(word(PAYLOAD_OFFSET));
        let payload = payload..payload + u64::from(word(PAYLOAD_LENGTH));
        if start == end || payload.is_empty() || payload.end > end {
            return Err(KernelError::Damaged(
                "its setup header names no payload in the file",
            ));
        }
        let alignment = u64::from(word(KERNEL_ALIGNMENT));
        let relocatable = bytes[RELOCATABLE] != 0 && alignment.is_power_of_two();
        Ok(Self {
            kernel: start..end,
            payload,
            preferred_address: u64_at(bytes, PREF_ADDRESS).unwrap_or_default(),
            relocatable: relocatable.then_some(alignment),
            init_size: u64::from(word(INIT_SIZE)).max(end - start),
            cmdline_size: word(CMDLINE_SIZE),
        })
    }
}

/// A kernel with an EFI stub may carry a signature behind the kernel: where that ends.
fn signature_end(bytes: &[u8]) -> Option<u64> {
    const PE32_PLUS: u16 = 0x20b;
    /// The certificate table among the data directories of a PE32+ optional header.
    const CERTIFICATES: u64 = 112 + 4 * 8;
    if !bytes.starts_with(b"MZ") {
        return None;
    }
    let pe = u64::from(u32_at(bytes, 0x3c)?);
    if slice(bytes, pe..pe + 4)? != b"PE\0\0" || u16_at(bytes, pe + 24)? != PE32_PLUS {
        return None;
    }
    let directory = pe + 24 + CERTIFICATES;
    // This one entry holds a file offset, not an address.
    let (offset, len) = (u32_at(bytes, directory)?, u32_at(bytes, directory + 4)?);
    (len > 0).then(|| u64::from(offset) + u64::from(len))
}
