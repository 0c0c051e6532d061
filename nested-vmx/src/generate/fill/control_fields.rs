// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Fields that VM-execution controls give a meaning (SDM volume 3, section 28.2.1.1).

use super::Filler;
use crate::capability::{EptVpid, Features};
use crate::controls::{
    PinControls as Pin, PrimaryControls as Primary, SecondaryControls as Secondary,
    TertiaryControls as Tertiary,
};
use crate::memory::L1Memory;
use crate::vmcs::Field;

/// Where VTPR is in the virtual-APIC page (SDM volume 3, section 31.1.1).
pub(in super::super) const VTPR: u64 = 0x80;

impl Filler<'_, '_, '_> {
    pub(super) fn fill_control_fields(&mut self) {
        let targets = u64::from(self.capabilities.misc.cr3_targets());
        let count = self.dice.below(targets + 1);
        self.set(Field::Cr3TargetCount, count);

        self.fill_pages();
        self.fill_apic();
        if self.secondary(Secondary::ENABLE_EPT) {
            let pointer = self.ept_pointer();
            self.set(Field::EptPointer, pointer);
        }
        if self.secondary(Secondary::ENABLE_VPID) {
            let vpid = self.dice.bits() & 0xffff;
            self.set(Field::VirtualProcessorId, vpid.max(1));
        }
        if self.secondary(Secondary::TSC_SCALING) {
            let multiplier = self.dice.bits();
            self.set(Field::TscMultiplier, multiplier.max(1));
        }
        if self.secondary(Secondary::ENABLE_VM_FUNCTIONS) {
            self.fill_vm_functions();
        }
        self.fill_tertiary();
        if self.capabilities.basic.has_nested_exception() {
            self.set(Field::InjectedEventData, 0u64);
        }
    }

    /// Pages that only have to be where pages can be.
    fn fill_pages(&mut self) {
        let pages = [
            (self.primary(Primary::USE_IO_BITMAPS), Field::IoBitmapA),
            (self.primary(Primary::USE_IO_BITMAPS), Field::IoBitmapB),
            (self.primary(Primary::USE_MSR_BITMAPS), Field::MsrBitmap),
            (
                self.secondary(Secondary::VIRTUALIZE_APIC_ACCESSES),
                Field::ApicAccessAddr,
            ),
            (self.secondary(Secondary::ENABLE_PML), Field::PmlAddress),
            (
                self.secondary(Secondary::SUB_PAGE_WRITE_PERMISSIONS),
                Field::Spptp,
            ),
            (
                self.secondary(Secondary::VMCS_SHADOWING),
                Field::VmreadBitmap,
            ),
            (
                self.secondary(Secondary::VMCS_SHADOWING),
                Field::VmwriteBitmap,
            ),
            (
                self.secondary(Secondary::EPT_VIOLATION_VE),
                Field::VeInformationAddress,
            ),
            (self.tertiary(Tertiary::ENABLE_HLAT), Field::HlatPointer),
        ];
        for (is_used, field) in pages {
            if is_used {
                let address = self.address(4096);
                self.set(field, address);
            }
        }
    }

    fn fill_apic(&mut self) {
        if self.pin(Pin::PROCESS_POSTED_INTERRUPTS) {
            let vector = u64::from(self.dice.byte());
            self.set(Field::PostedIntrNv, vector);
            let descriptor = self.address(64);
            self.set(Field::PostedIntrDescAddr, descriptor);
        }
        if !self.primary(Primary::USE_TPR_SHADOW) {
            return;
        }
        let page = self.page();
        self.set(Field::VirtualApicPageAddr, page);
        let vtpr = u64::from(self.dice.byte());
        self.memory.set_word(page + VTPR, vtpr);
        if self.secondary(Secondary::VIRTUAL_INTERRUPT_DELIVERY) {
            return;
        }
        let threshold = match self.secondary(Secondary::VIRTUALIZE_APIC_ACCESSES) {
            true => self.dice.below(16),
            false => self.dice.below((vtpr >> 4) + 1),
        };
        self.set(Field::TprThreshold, threshold);
    }

    /// An EPT pointer (SDM volume 3, table 26-9).
    fn ept_pointer(&mut self) -> u64 {
        let can = self.capabilities.ept_vpid;
        let [uc, wb] = [EptVpid::UC, EptVpid::WB].map(|bit| can.contains(bit));
        let memory_type = match (uc, wb) {
            (true, true) => self.dice.one_of(&[6, 0], 6),
            (true, false) => 0,
            _ => 6,
        };
        let [four, five] = [EptVpid::WALK_4, EptVpid::WALK_5].map(|bit| can.contains(bit));
        let walk = match (four, five) {
            (true, true) => self.dice.one_of(&[3, 4], 3),
            (false, true) => 4,
            _ => 3,
        };
        let mut flags = 0;
        if can.contains(EptVpid::ACCESSED_DIRTY) {
            flags |= self.dice.below(2) << 6;
        }
        if can.contains(EptVpid::SUPERVISOR_SHADOW_STACK) {
            flags |= self.dice.below(2) << 7;
        }
        self.address(4096) | memory_type | walk << 3 | flags
    }

    fn fill_vm_functions(&mut self) {
        // EPTP switching needs EPT.
        let possible = match self.secondary(Secondary::ENABLE_EPT) {
            true => self.capabilities.vm_functions,
            false => self.capabilities.vm_functions & !1,
        };
        let wanted = match self.plan.eptp_switching {
            None => possible,
            Some(false) => possible & !1,
            Some(true) => possible,
        };
        let drawn = self.dice.bits() & wanted;
        let functions = match self.plan.eptp_switching {
            Some(true) => drawn | wanted & 1,
            _ => drawn,
        };
        self.set(Field::VmFunctionControl, functions);
        if functions & 1 != 0 {
            let list = self.address(4096);
            self.set(Field::EptpListAddress, list);
        }
    }

    fn fill_tertiary(&mut self) {
        if self.tertiary(Tertiary::ENABLE_HLAT) {
            // PWT and PCD of the pointer are free.
            let flags = self.dice.bits() & 0x18;
            self.insert(Field::HlatPointer, flags);
            let size = self.dice.below(53);
            self.set(Field::HlatPrefixSize, size);
        }
        if self.tertiary(Tertiary::IPI_VIRTUALIZATION) {
            // The table ends with its page at the latest.
            let table = self.address(8);
            self.set(Field::PidPointerTable, table);
            let last = self.dice.below((0x1000 - table % 0x1000) / 8);
            self.set(Field::LastPidPointerIndex, last);
        }
        if self.tertiary(Tertiary::APIC_TIMER_VIRTUALIZATION) {
            let vector = u64::from(self.dice.byte());
            self.set(Field::VirtualTimerVector, vector);
        }
    }

    /// Whether the processor has one of these features.
    pub(super) fn has(&self, features: Features) -> bool {
        self.capabilities.processor.has(features)
    }

    /// What is in L1's memory at an address that is a multiple of 8.
    pub(super) fn word(&self, address: u64) -> u64 {
        self.memory.read_u64(address).unwrap_or_default()
    }
}
