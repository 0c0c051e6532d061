// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The registers that paging depends on.

use super::mode::Mode;
use crate::capability::Processor;
use crate::controls::EntryControls;
use crate::registers::{cr0, cr4, efer};
use crate::vmcs::Vmcs;

/// The registers that paging depends on, and what the processor can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PagingState {
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// IA32_EFER.
    pub efer: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// The PDPTE registers, for PAE paging. They were checked when they were loaded.
    pub pdptes: [u64; 4],
    /// The current privilege level: 0 to 3.
    pub cpl: u8,
    /// PKRU, where CR4.PKE is 1.
    pub pkru: u32,
    /// IA32_PKRS, where CR4.PKS is 1.
    pub pkrs: u32,
    /// Bits of a physical address: up to 52.
    pub physical_address_width: u32,
    /// Whether there are 1-GByte pages (CPUID.80000001H:EDX\[26\]).
    pub has_1g_pages: bool,
}

impl PagingState {
    /// That of the guest of this VMCS, as VM exits and VM entries leave it: with IA32_EFER saved,
    /// and with the PDPTEs in the VMCS. PKRU is not in a VMCS: it is 0 here. 1-GByte pages there
    /// are.
    pub fn from_vmcs(vmcs: &Vmcs, processor: Processor) -> Self {
        let long = vmcs.entry().contains(EntryControls::IA32E_MODE_GUEST);
        let without_lma = vmcs.guest_ia32_efer() & !efer::LMA;
        Self {
            cr0: vmcs.guest_cr0(),
            cr3: vmcs.guest_cr3(),
            cr4: vmcs.guest_cr4(),
            efer: without_lma | if long { efer::LMA } else { 0 },
            rflags: vmcs.guest_rflags(),
            pdptes: [
                vmcs.guest_pdptr0(),
                vmcs.guest_pdptr1(),
                vmcs.guest_pdptr2(),
                vmcs.guest_pdptr3(),
            ],
            // The privilege level of SS is the current one.
            cpl: (vmcs.guest_ss_ar_bytes() >> 5 & 3) as u8,
            pkru: 0,
            pkrs: vmcs.guest_ia32_pkrs() as u32,
            physical_address_width: processor.physical_address_width,
            has_1g_pages: true,
        }
    }

    const fn cr4_has(&self, bit: u64) -> bool {
        self.cr4 & bit != 0
    }

    /// The paging mode (SDM volume 3, section 5.1.1); `None` without paging.
    pub(super) const fn mode(&self) -> Option<Mode> {
        if self.cr0 & cr0::PG == 0 {
            return None;
        }
        let long = self.efer & efer::LMA != 0;
        Some(match (self.cr4_has(cr4::PAE), long) {
            (false, _) => Mode::Bits32,
            (true, false) => Mode::Pae,
            (true, true) if self.cr4_has(cr4::LA57) => Mode::FiveLevel,
            (true, true) => Mode::FourLevel,
        })
    }

    /// Whether entries can disable execution (XD).
    pub(super) const fn has_execute_disable(&self) -> bool {
        self.cr4_has(cr4::PAE) && self.efer & efer::NXE != 0
    }

    /// Whether large pages exist in 32-bit paging.
    pub(super) const fn has_page_size_extensions(&self) -> bool {
        self.cr4_has(cr4::PSE)
    }

    /// Whether accesses are user-mode accesses.
    pub(super) const fn is_user(&self) -> bool {
        self.cpl == 3
    }

    /// A 1 in each bit that a physical address must not have.
    pub(super) const fn beyond_physical(&self) -> u64 {
        Processor::new(self.physical_address_width).beyond_physical()
    }
}
