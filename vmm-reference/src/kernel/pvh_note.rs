// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The ELF note by which a kernel offers the PVH boot protocol: the physical address of its 32-bit
//! entry point.

use super::KernelError;
use super::bytes::{slice, u32_at};

const XEN_ELFNOTE_PHYS32_ENTRY: u32 = 18;

/// Looks for it in a segment of notes.
pub(super) fn entry(mut notes: &[u8]) -> Result<Option<u32>, KernelError> {
    let padded = |len: u32| (u64::from(len)).next_multiple_of(4);
    loop {
        let (Some(name_len), Some(value_len), Some(kind)) =
            (u32_at(notes, 0), u32_at(notes, 4), u32_at(notes, 8))
        else {
            return Ok(None);
        };
        let value = 12 + padded(name_len);
        let name = slice(notes, 12..12 + u64::from(name_len));
        if kind == XEN_ELFNOTE_PHYS32_ENTRY && name == Some(b"Xen\0") {
            return match (value_len, u32_at(notes, value), u32_at(notes, value + 4)) {
                (4, Some(entry), _) | (8, Some(entry), Some(0)) => Ok(Some(entry)),
                _ => Err(KernelError::Damaged("its PVH note holds no 32-bit address")),
            };
        }
        let next = usize::try_from(value + padded(value_len)).unwrap_or(usize::MAX);
        notes = notes.get(next..).unwrap_or_default();
    }
}
