// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The three MSR areas (SDM volume 3, sections 26.7.2 and 26.8.2).

use super::super::registers::SomeMsrs;
use super::Filler;
use crate::vmcs::Field;

/// Most entries of the VM-entry area: their contents have to fit into the memory.
const MAX_LOADED: u64 = 4;

impl Filler<'_, '_, '_> {
    pub(super) fn fill_msr_areas(&mut self) {
        let at_exit = [
            (Field::VmExitMsrStoreCount, Field::VmExitMsrStoreAddr),
            (Field::VmExitMsrLoadCount, Field::VmExitMsrLoadAddr),
        ];
        let limit = u64::from(self.capabilities.misc.max_msr_list());
        for (count_field, address_field) in at_exit {
            // Without entries, the address does not count.
            let count = self.count(limit);
            self.set(count_field, count);
            if count != 0 {
                let address = self.area(count);
                self.set(address_field, address);
            }
        }
        let count = self.count(MAX_LOADED);
        self.set(Field::VmEntryMsrLoadCount, count);
        if count != 0 {
            // Its contents count: a page of its own.
            let page = self.page();
            let address = page + self.dice.below(0x100) * 16 % (0x1000 - 16 * MAX_LOADED);
            self.set(Field::VmEntryMsrLoadAddr, address);
            for entry in 0..count {
                self.fill_entry(address + entry * 16);
            }
        }
    }

    fn count(&mut self, limit: u64) -> u64 {
        match self.plan.msr_areas {
            Some(false) => 0,
            Some(true) => 1 + self.dice.below(limit.min(MAX_LOADED)),
            None if self.dice.once_in(3) => self.dice.below(limit + 1),
            None => 0,
        }
    }

    /// An address for so many entries, the last of which ends within the physical address width.
    fn area(&mut self, count: u64) -> u64 {
        let last = !self.capabilities.beyond_physical() & !0xf;
        let highest = last.saturating_sub((count - 1) * 16);
        match self.dice.once_in(4) {
            true => highest,
            false => self.address(16).min(highest),
        }
    }

    fn fill_entry(&mut self, address: u64) {
        let mut indices = SomeMsrs::indices();
        let which = self.dice.below(indices.len() as u64) as usize;
        let index = indices.nth(which).unwrap_or(0x174);
        let value = SomeMsrs::nearest(index, self.dice.bits());
        self.memory.set_word(address, index.into());
        self.memory.set_word(address + 8, value);
    }
}
