// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What L2 reads and writes that is not what the processor has: control registers with L1's masks, the
//! TSC with L1's offset.

use super::error::SoftError;
use super::instruction::Fetched;
use super::vcpu::{Out, SoftVcpu};
use super::world::World;
use crate::controls::PrimaryControls;
use crate::vmcs::Field;

impl<W: World> SoftVcpu<W> {
    /// A control register as L2 reads it.
    pub(super) fn shown(&self, cr: u8) -> u64 {
        let vmcs = &self.state.vmcs;
        let (value, mask, shadow) = match cr {
            0 => (
                vmcs.guest_cr0(),
                vmcs.cr0_guest_host_mask(),
                vmcs.cr0_read_shadow(),
            ),
            _ => (
                vmcs.guest_cr4(),
                vmcs.cr4_guest_host_mask(),
                vmcs.cr4_read_shadow(),
            ),
        };
        value & !mask | shadow & mask
    }

    /// L2 writes a control register, as far as its bits are its own.
    pub(super) fn write_unmasked(
        &mut self,
        cr: u8,
        gpr: usize,
        fetched: &Fetched,
    ) -> Result<Option<Out>, SoftError> {
        let vmcs = &self.state.vmcs;
        let (real, mask) = match cr {
            0 => (vmcs.guest_cr0(), vmcs.cr0_guest_host_mask()),
            _ => (vmcs.guest_cr4(), vmcs.cr4_guest_host_mask()),
        };
        let wanted = self.state.register(gpr);
        let merged = real & mask | wanted & !mask;
        // VMXE is not KVM's.
        let vmxe = match cr {
            4 => crate::registers::cr4::VMXE,
            _ => 0,
        };
        self.state.set_register(gpr, merged & !vmxe);
        let out = self.step_natively(fetched)?;
        self.state.set_register(gpr, wanted);
        if cr == 4 {
            let value = self.state.vmcs.guest_cr4() & !vmxe | merged & vmxe;
            self.state.vmcs.write(Field::GuestCr4, value);
        }
        Ok(out)
    }

    /// What L2 reads of the TSC is L1's with L1's offset.
    pub(super) fn offset_tsc(&mut self) {
        if self
            .vmx
            .vmcs12()
            .primary()
            .contains(PrimaryControls::USE_TSC_OFFSETTING)
        {
            let offset = self.vmx.vmcs12().tsc_offset();
            let low = self.state.register(0) & 0xffff_ffff;
            let value = (low | self.state.register(2) << 32).wrapping_add(offset);
            self.state.set_register(0, value & 0xffff_ffff);
            self.state.set_register(2, value >> 32);
        }
    }
}
