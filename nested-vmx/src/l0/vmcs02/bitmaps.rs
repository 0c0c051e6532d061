// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! MSR bitmaps for L2 (SDM volume 3, section 26.6.9).

use crate::controls::PrimaryControls;
use crate::memory::L1Memory;
use crate::vmcs::Vmcs;

/// An MSR bitmap: a 1 makes RDMSR or WRMSR exit.
pub type MsrBitmap = [u8; 4096];

/// Every access exits.
pub(crate) const ALL: MsrBitmap = [0xff; 4096];

/// The bitmap for L2: an access exits if L0 or L1 wants it to. Without a bitmap of L1's, or with
/// one that cannot be read, L1 wants all.
pub(crate) fn merge(l0: &MsrBitmap, vmcs12: &Vmcs, memory: &dyn L1Memory, merged: &mut MsrBitmap) {
    let used = vmcs12.primary().contains(PrimaryControls::USE_MSR_BITMAPS);
    if used && memory.read(vmcs12.msr_bitmap(), merged).is_ok() {
        for (bits, l0) in merged.iter_mut().zip(l0) {
            *bits |= l0;
        }
    } else {
        *merged = ALL;
    }
}
