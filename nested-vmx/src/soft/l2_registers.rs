// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What L2 reads and writes that is not what the processor has: control registers with L1's masks, the
//! TSC with L1's offset, MSRs of another vCPU.

use super::engine::is_with_the_guest;
use super::error::SoftError;
use super::idt::vector;
use super::instruction::{Fetched, Kind};
use super::msrs::TSC;
use super::native_l2::Instead;
use super::state::{LOW, RAX, RCX, RDX};
use super::vcpu::{On, Out, SoftVcpu};
use super::world::World;
use crate::controls::{PrimaryControls, SecondaryControls};
use crate::l0::{Exception, PendingException};
use crate::operand::Mode;
use crate::registers::{cr0, cr4};

/// IA32_TSC_AUX.
const TSC_AUX: u32 = 0xc000_0103;

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

    /// RDTSC and RDTSCP. The vCPU on which L2 runs has a TSC that nobody set.
    pub(super) fn read_tsc(&mut self, kind: Kind, length: u64) -> Option<Out> {
        if self.state.vmcs.guest_cr4() & cr4::TSD != 0 && self.state.cpl() != 0 {
            return self.raise_in_l2(PendingException::fault(vector::GENERAL_PROTECTION, Some(0)));
        }
        let value = self.tsc_in_l2();
        self.set_edx_eax(value);
        if kind == Kind::Rdtscp {
            let aux = self.engine().msr(TSC_AUX).unwrap_or_default();
            self.state.set_register(RCX, aux & LOW);
        }
        self.skipped(length)
    }

    /// The TSC as L2 reads it: L1's with L1's offset.
    fn tsc_in_l2(&self) -> u64 {
        let vmcs12 = self.vmx.vmcs12();
        let offsets = PrimaryControls::USE_TSC_OFFSETTING;
        let offset = match vmcs12.primary().contains(offsets) {
            true => vmcs12.tsc_offset(),
            false => 0,
        };
        self.tsc().wrapping_add(offset)
    }

    fn set_edx_eax(&mut self, value: u64) {
        self.state.set_register(RAX, value & LOW);
        self.state.set_register(RDX, value >> 32);
    }

    /// RDMSR and WRMSR of L2's that the vCPU on which it runs cannot carry out, since it is L1's vCPU
    /// that has the MSR, or the VMM. RIP stays. `None`: it can.
    pub(super) fn l2_msr(&mut self, fetched: &Fetched) -> Option<Result<(), Exception>> {
        if let Some(done) = self.software_msr(fetched) {
            return Some(done);
        }
        let index = self.state.register(RCX) as u32;
        if index != TSC && (self.on == On::Whole || is_with_the_guest(index)) {
            return None;
        }
        let is_done = if fetched.kind() == Kind::Rdmsr {
            let value = match index {
                TSC => Some(self.tsc_in_l2()),
                _ => self.whole.msr(index),
            };
            value.map(|value| self.set_edx_eax(value)).is_some()
        } else {
            let value = self.state.register(RAX) & LOW | self.state.register(RDX) << 32;
            self.whole.set_msr(index, value)
        };
        Some(is_done.then_some(()).ok_or(Exception::GENERAL_PROTECTION))
    }
}
