// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The page-directory-pointer-table entries of PAE paging (SDM volume 3, section 5.4.1).

use crate::capability::Capabilities;
use crate::memory::L1Memory;

/// Bits of a present PDPTE that must be 0: 2:1, 8:5, and 63 down to the physical-address width.
const RESERVED: u64 = 0x1e6;
const PRESENT: u64 = 1;

/// The four entries that this CR3 points at. `None`: one is not valid, or they are not memory.
pub(super) fn read(
    capabilities: &Capabilities,
    cr3: u64,
    memory: &dyn L1Memory,
) -> Option<[u64; 4]> {
    let mut bytes = [0; 32];
    // Bits 31:5 of CR3.
    memory.read(cr3 & 0xffff_ffe0, &mut bytes).ok()?;
    let mut entries = [0; 4];
    for (entry, bytes) in entries.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *entry = u64::from_le_bytes(*bytes);
        let reserved = RESERVED | capabilities.processor.beyond_physical();
        if *entry & PRESENT != 0 && *entry & reserved != 0 {
            return None;
        }
    }
    Some(entries)
}
