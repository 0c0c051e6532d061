// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! MSR bitmaps for L2 (SDM volume 3, section 26.6.9).

use crate::controls::{PrimaryControls, SecondaryControls};
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
        intercept_x2apic(vmcs12, merged);
    } else {
        *merged = ALL;
    }
}

/// Makes those accesses to the x2APIC's registers exit that L1's virtual-APIC page does not serve
/// (SDM volume 3, section 31.5): without an exit they would reach the processor's own APIC. L0 may
/// let L1 access them, because its own controls virtualize them then; L2 does not have those.
fn intercept_x2apic(vmcs12: &Vmcs, merged: &mut MsrBitmap) {
    /// The bytes with the MSRs 0x800 to 0x8ff, in the part for reads and in the part for writes.
    const REGISTERS: usize = 0x20;
    const READS: usize = 0x100;
    const WRITES: usize = 0x900;
    /// Where the TPR (0x808), EOI (0x80b) and SELF IPI (0x83f) are from there.
    const TPR: (usize, u8) = (1, 1);
    const EOI: (usize, u8) = (1, 1 << 3);
    const SELF_IPI: (usize, u8) = (7, 1 << 7);

    let secondary = vmcs12.secondary();
    let virtualized = secondary.contains(SecondaryControls::VIRTUALIZE_X2APIC_MODE)
        && vmcs12.primary().contains(PrimaryControls::USE_TPR_SHADOW);
    let all_reads =
        virtualized && secondary.contains(SecondaryControls::APIC_REGISTER_VIRTUALIZATION);
    let interrupts =
        virtualized && secondary.contains(SecondaryControls::VIRTUAL_INTERRUPT_DELIVERY);
    let served = |at, registers: &[(bool, (usize, u8))]| {
        registers
            .iter()
            .filter(|(is_served, (byte, _))| *is_served && *byte == at)
            .fold(0, |served, (_, (_, bit))| served | bit)
    };
    if !all_reads {
        let reads = merged.iter_mut().skip(READS).take(REGISTERS);
        for (at, bits) in reads.enumerate() {
            *bits |= !served(at, &[(virtualized, TPR)]);
        }
    }
    let writes = merged.iter_mut().skip(WRITES).take(REGISTERS);
    for (at, bits) in writes.enumerate() {
        let registers = [
            (virtualized, TPR),
            (interrupts, EOI),
            (interrupts, SELF_IPI),
        ];
        *bits |= !served(at, &registers);
    }
}
