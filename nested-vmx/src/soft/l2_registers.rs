// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What L2 reads and writes that is not what the processor has: control registers with L1's masks, MSRs
//! of the VMM's devices, the TSC with L1's offset.

use super::error::SoftError;
use super::instruction::{Fetched, Kind};
use super::state::Stale;
use super::vcpu::{On, Out, SoftVcpu};
use super::world::World;
use crate::controls::PrimaryControls;
use crate::l0::{Exception, PendingException};
use crate::vmcs::Field;

/// RSP's number.
const RSP: usize = 4;

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
        if gpr == RSP && merged & !vmxe != wanted {
            // The stack pointer cannot have another value for a moment.
            return self.write_for_l2(cr, merged, fetched.length());
        }
        self.state.set_register(gpr, merged & !vmxe);
        let out = self.step_natively(fetched)?;
        let is_l2 = self.vmx.operation().is_non_root();
        if is_l2 || gpr != RSP {
            // Also for L1, which has L2's registers after an exit.
            self.state.set_register(gpr, wanted);
        }
        if is_l2 && cr == 4 {
            let value = self.state.vmcs.guest_cr4() & !vmxe | merged & vmxe;
            self.state.vmcs.write(Field::GuestCr4, value);
        }
        Ok(out)
    }

    /// L0 writes a control register of L2's: KVM finds what is not allowed.
    fn write_for_l2(&mut self, cr: u8, value: u64, length: u64) -> Result<Option<Out>, SoftError> {
        let field = match cr {
            0 => Field::GuestCr0,
            _ => Field::GuestCr4,
        };
        let before = self.state.clone();
        self.state.vmcs.write(field, value);
        self.state.changed(Stale::All);
        let engine = match self.on {
            On::Whole => &mut self.whole,
            On::View => &mut self.for_view,
        };
        if engine.write(&mut self.state).is_err() {
            self.restore(&before);
            self.returned(None);
            let _ = self
                .vmx
                .raise_exception(PendingException::fault(13, Some(0)));
            return Ok(None);
        }
        Ok(self.skipped(length))
    }

    /// RDMSR and WRMSR of what the VMM's devices, or VMX, have.
    pub(super) fn device_msr(&mut self, fetched: &Fetched) -> Option<Result<(), Exception>> {
        let index = self.state.register(1) as u32;
        let result = match fetched.kind() {
            Kind::Rdmsr => {
                let value = match self.vmx.capabilities().msr(index) {
                    Some(value) => Ok(value),
                    None => self.world.read_msr(index)?,
                };
                value.map(|value| {
                    self.state.set_register(0, value & 0xffff_ffff);
                    self.state.set_register(2, value >> 32);
                })
            }
            _ => {
                let value = self.state.register(0) & 0xffff_ffff | self.state.register(2) << 32;
                self.world.write_msr(index, value)?
            }
        };
        Some(result.map_err(|_| Exception::GENERAL_PROTECTION))
    }

    /// RDTSC and RDTSCP: what L2 reads of the TSC is L1's with L1's offset.
    pub(super) fn read_tsc(&mut self, fetched: &Fetched) -> Result<Option<Out>, SoftError> {
        /// CR4.TSD: only for privilege level 0.
        const TSD: u64 = 1 << 2;
        const TSC_AUX: u32 = 0xc000_0103;
        if self.state.cpl() != 0 && self.state.vmcs.guest_cr4() & TSD != 0 {
            return self.step_natively(fetched);
        }
        let vmcs12 = self.vmx.vmcs12();
        let offset = match vmcs12
            .primary()
            .contains(PrimaryControls::USE_TSC_OFFSETTING)
        {
            true => vmcs12.tsc_offset(),
            false => 0,
        };
        let value = self.tsc().wrapping_add(offset);
        self.state.set_register(0, value & 0xffff_ffff);
        self.state.set_register(2, value >> 32);
        if fetched.kind() == Kind::Rdtscp {
            let aux = self.engine().msr(TSC_AUX).unwrap_or_default();
            self.state.set_register(1, aux & 0xffff_ffff);
        }
        Ok(self.skipped(fetched.length()))
    }
}
