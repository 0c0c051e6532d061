// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The VM-entry MSR-load area (SDM volume 3, section 28.4).

use super::super::registers::SomeMsrs;
use super::super::spoiler::when;
use super::{Recipe, recipe};
use crate::check::Rule;
use crate::memory::L1Memory;

/// An MSR that there is not.
const UNKNOWN: u64 = 0x4000_0000;

pub(super) const RECIPES: &[Recipe] = &[recipe!(MsrLoad, |p| p.msr_areas = Some(true), |s| {
    let count = u64::from(s.vmcs().vm_entry_msr_load_count());
    when(count != 0)?;
    let entry = s.vmcs().vm_entry_msr_load_addr() + 16 * s.dice.below(count);
    let index = s.scenario.memory.read_u64(entry).ok()?;
    let index = match s.dice.below(4) {
        // WRMSR would take the value, but a VM entry does not get so far.
        0 | 1 => {
            let mut indices = SomeMsrs::never_loaded();
            let which = s.dice.below(indices.len() as u64) as usize;
            when(s.scenario.memory.set_word(entry + 8, 0))?;
            indices.nth(which)?.into()
        }
        2 => UNKNOWN,
        // Bits 63:32 are reserved.
        _ => index | s.dice.bit_of(0xffff_ffff << 32),
    };
    when(s.scenario.memory.set_word(entry, index))
})];
