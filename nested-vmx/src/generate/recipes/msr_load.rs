// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The VM-entry MSR-load area (SDM volume 3, section 28.4).

use super::super::spoiler::when;
use super::{Recipe, recipe};
use crate::check::Rule;
use crate::memory::L1Memory;

/// MSRs that are never loaded from there: FS_BASE, GS_BASE, the x2APIC's, IA32_BIOS_UPDT_TRIG,
/// IA32_SMM_MONITOR_CTL; and one that does not exist.
const NOT_LOADED: [u64; 6] = [0xc000_0100, 0xc000_0101, 0x808, 0x79, 0x9b, 0x4000_0000];

pub(super) const RECIPES: &[Recipe] = &[recipe!(MsrLoad, |p| p.msr_areas = Some(true), |s| {
    let count = u64::from(s.vmcs().vm_entry_msr_load_count());
    when(count != 0)?;
    let entry = s.vmcs().vm_entry_msr_load_addr() + 16 * s.dice.below(count);
    let index = s.scenario.memory.read_u64(entry).ok()?;
    let index = match s.dice.once_in(2) {
        true => s.pick(&NOT_LOADED)?,
        // Bits 63:32 are reserved.
        false => index | s.dice.bit_of(0xffff_ffff << 32),
    };
    when(s.scenario.memory.set_word(entry, index))
})];
