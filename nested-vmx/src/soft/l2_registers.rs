// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What L2 reads and writes that is not what the processor has: control registers with L1's masks, the
//! TSC with L1's offset.

use super::error::SoftError;
use super::idt::vector;
use super::instruction::Fetched;
use super::native_l2::Instead;
use super::state::LOW;
use super::vcpu::{Out, SoftVcpu};
use super::world::World;
use crate::controls::{PrimaryControls, SecondaryControls};
use crate::l0::PendingException;
use crate::operand::Mode;
use crate::registers::{cr0, cr4};

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
        let wanted = match self.state.mode() {
            Mode::Bits64 => self.state.register(gpr),
            _ => self.state.register(gpr) & LOW,
        };
        let merged = real & mask | wanted & !mask;
        if !self.is_allowed_in_vmx(cr, merged) {
            let fault = PendingException::fault(vector::GENERAL_PROTECTION, Some(0));
            return Ok(self.raise_in_l2(fault));
        }
        // VMXE is not KVM's. In VMX operation it stays set.
        let value = match cr {
            4 => merged & !cr4::VMXE,
            _ => merged,
        };
        self.step_with(fetched, Some(Instead { gpr, value }))
    }

    /// Whether VMX operation lets a control register have this value (SDM volume 3, sections 25.8 and
    /// 27.3).
    fn is_allowed_in_vmx(&self, cr: u8, value: u64) -> bool {
        let capabilities = self.vmx.capabilities();
        let vmcs12 = self.vmx.vmcs12();
        let (must, may) = match cr {
            0 => (capabilities.cr0_fixed0, capabilities.cr0_fixed1),
            _ => (capabilities.cr4_fixed0, capabilities.cr4_fixed1),
        };
        let unrestricted = vmcs12
            .secondary()
            .contains(SecondaryControls::UNRESTRICTED_GUEST);
        let free = match cr {
            0 if unrestricted => cr0::PE | cr0::PG,
            _ => 0,
        };
        value & must & !free == must & !free && value & !may == 0
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
