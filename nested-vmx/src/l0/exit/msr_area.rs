// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The lists of MSRs that VM entries and VM exits load and store (SDM volume 3, sections 28.4,
//! 29.4 and 29.6).

use super::msr_fields;
use crate::capability::Capabilities;
use crate::check::is_loadable;
use crate::memory::L1Memory;
use crate::msrs::Msrs;
use crate::vmcs::Vmcs;

/// Bytes of an entry: index, reserved, value.
const ENTRY: u64 = 16;

/// IA32_SMBASE, which only SMM reads.
const SMBASE: u32 = 0x9e;

/// Whether the index is that of a register of the x2APIC.
const fn is_x2apic(index: u32) -> bool {
    index >> 8 == 8
}

/// The list at `address` with `count` entries, of which no more are used than this processor
/// allows.
#[derive(Clone, Copy, Debug)]
pub(in crate::l0) struct MsrArea {
    address: u64,
    count: u32,
}

/// What goes wrong with an MSR area: the number of the entry, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::l0) struct BadEntry(pub u32);

impl MsrArea {
    /// The area with these fields.
    pub fn new(address: u64, count: u32) -> Self {
        Self { address, count }
    }

    fn entries(self, capabilities: &Capabilities) -> impl Iterator<Item = (u32, Option<u64>)> {
        // More entries than this fail the VM entry; what came by another way is bounded here.
        let count = self.count.min(capabilities.misc.max_msr_list());
        (0..count).map(move |at| {
            let offset = u64::from(at) * ENTRY;
            (at + 1, self.address.checked_add(offset))
        })
    }

    /// Writes the MSRs of the list, those that `guest` holds to it as well.
    ///
    /// # Errors
    ///
    /// The first entry that cannot be loaded. Those before it were.
    pub fn load(
        self,
        capabilities: &Capabilities,
        memory: &dyn L1Memory,
        msrs: &mut dyn Msrs,
        guest: &mut Vmcs,
    ) -> Result<(), BadEntry> {
        for (number, address) in self.entries(capabilities) {
            let bad = BadEntry(number);
            let address = address.ok_or(bad)?;
            let [index, reserved, low, high] = read(memory, address).ok_or(bad)?;
            let refused = !is_loadable(index) || reserved != 0;
            if refused {
                return Err(bad);
            }
            let value = u64::from(high) << 32 | u64::from(low);
            msrs.write(index, value).map_err(|_| bad)?;
            msr_fields::write(guest, index, value);
        }
        Ok(())
    }

    /// Stores the MSRs of the list, as `guest` has those that it holds.
    ///
    /// # Errors
    ///
    /// The first entry that cannot be stored. Those before it were.
    pub fn store(
        self,
        capabilities: &Capabilities,
        memory: &dyn L1Memory,
        msrs: &dyn Msrs,
        guest: &Vmcs,
    ) -> Result<(), BadEntry> {
        for (number, address) in self.entries(capabilities) {
            let bad = BadEntry(number);
            let address = address.ok_or(bad)?;
            let [index, reserved, ..] = read(memory, address).ok_or(bad)?;
            if index == SMBASE || is_x2apic(index) || reserved != 0 {
                return Err(bad);
            }
            let known = msrs.read(index).map_err(|_| bad)?;
            let value = msr_fields::read(guest, index).unwrap_or(known);
            let at = address.checked_add(8).ok_or(bad)?;
            memory.write(at, &value.to_le_bytes()).map_err(|_| bad)?;
        }
        Ok(())
    }
}

fn read(memory: &dyn L1Memory, address: u64) -> Option<[u32; 4]> {
    let mut bytes = [0; ENTRY as usize];
    memory.read(address, &mut bytes).ok()?;
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    Some(words)
}
