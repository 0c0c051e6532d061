// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The page-modification log (SDM volume 3, section 30.3.6).

use super::fault::EptFault;
use crate::controls::SecondaryControls;
use crate::memory::L1Memory;
use crate::vmcs::Vmcs;

/// L1's page-modification log: a page of 512 entries, filled from the last one to the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageModificationLog {
    address: u64,
    index: u16,
}

impl PageModificationLog {
    /// How many entries it has.
    pub const ENTRIES: u16 = 512;

    /// The log at this physical address, whose next entry is `index`.
    pub const fn new(address: u64, index: u16) -> Self {
        Self { address, index }
    }

    /// The log of a vmcs12, if it enables one.
    pub fn of(vmcs12: &Vmcs) -> Option<Self> {
        vmcs12
            .secondary()
            .contains(SecondaryControls::ENABLE_PML)
            .then(|| Self::new(vmcs12.pml_address(), vmcs12.guest_pml_index()))
    }

    /// The index of the next entry, for the field of the vmcs12. It is beyond the last one when the
    /// log is full: after entry 0 comes 0xffff.
    pub const fn index(&self) -> u16 {
        self.index
    }

    /// Writes the next entry, which counts from [`advance`](Self::advance) on: so a page whose dirty
    /// flag then is not set after all leaves no trace.
    pub(super) fn prepare(
        &self,
        memory: &dyn L1Memory,
        guest_physical: u64,
    ) -> Result<(), EptFault> {
        if self.index >= Self::ENTRIES {
            return Err(EptFault::LogFull);
        }
        let address = self.address.wrapping_add(u64::from(self.index) * 8);
        let page = guest_physical & !0xfff;
        Ok(memory.write(address, &page.to_le_bytes())?)
    }

    pub(super) const fn advance(&mut self) {
        self.index = self.index.wrapping_sub(1);
    }
}
