// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Instructions that L0 carries out for L1, but for VMX: control registers, MSRs, HLT, STI.

use super::error::SoftError;
use super::idt::vector;
use super::instruction::{Fetched, Kind};
use super::state::{LOW, RAX, RCX, RDX, Stale};
use super::vcpu::{Activity, Out, SoftVcpu};
use super::world::World;
use crate::interruption::Event;
use crate::l0::{Exception, Operation};
use crate::msrs::MsrFault;
use crate::registers::{cr0, cr4, interruptibility};
use crate::vmcs::Field;

/// IA32_FEATURE_CONTROL.
const FEATURE_CONTROL: u32 = 0x3a;
/// The MSRs that tell of VMX.
const VMX_MSRS: core::ops::RangeInclusive<u32> = 0x480..=0x491;

impl<W: World> SoftVcpu<W> {
    /// Carries an instruction out for L1.
    pub(super) fn l1_instruction(&mut self, fetched: &Fetched) -> Result<Option<Out>, SoftError> {
        let length = fetched.length();
        let is_kernel = self.state.cpl() == 0;
        match fetched.kind() {
            Kind::Vmx => return self.vmx_instruction(fetched),
            Kind::MovFromCr { cr: 4, gpr } if is_kernel => {
                self.state.set_register(gpr, self.state.vmcs.guest_cr4());
            }
            Kind::MovFromCr { cr: 8, gpr } if is_kernel => {
                let value = self.world.cr8();
                self.state.set_register(gpr, value);
            }
            Kind::MovToCr { cr: 8, gpr } if is_kernel => match self.state.register(gpr) {
                value @ 0..=15 => self.world.set_cr8(value),
                _ => {
                    self.raise_in_l1(Exception::GENERAL_PROTECTION);
                    return Ok(None);
                }
            },
            Kind::MovToCr { cr: 4, gpr } if is_kernel => return self.write_cr4(gpr, length),
            Kind::MovToCr { cr: 0, gpr } if is_kernel && self.in_root() => {
                let fixed = cr0::PE | cr0::NE | cr0::PG;
                if self.state.register(gpr) & fixed != fixed {
                    self.raise_in_l1(Exception::GENERAL_PROTECTION);
                    return Ok(None);
                }
                return self.execute_natively(fetched);
            }
            Kind::Rdmsr | Kind::Wrmsr if is_kernel => return self.access_msr(fetched),
            Kind::Hlt if is_kernel && self.mend_copied_stop(fetched.physical) => return Ok(None),
            Kind::Hlt if is_kernel => {
                self.state.skip(length);
                self.activity = Activity::Halted;
                return Ok(None);
            }
            Kind::Sti if self.state.may_change_if() => {
                self.state.sti(length);
                return Ok(None);
            }
            Kind::LoadSs => {
                let next = self.state.rip().wrapping_add(length);
                let out = self.execute_natively(fetched)?;
                if self.state.rip() == next {
                    self.state
                        .set_blocking(self.state.blocking() | interruptibility::MOV_SS);
                }
                return Ok(out);
            }
            Kind::Iret => return self.iret(fetched),
            _ => return self.execute_natively(fetched),
        }
        self.state.skip(length);
        Ok(None)
    }

    pub(super) fn in_root(&self) -> bool {
        matches!(self.vmx.operation(), Operation::Root(_))
    }

    /// MOV to CR4: KVM checks all but VMXE, which it does not have.
    pub(super) fn write_cr4(&mut self, gpr: usize, length: u64) -> Result<Option<Out>, SoftError> {
        let value = self.state.register(gpr);
        let capabilities = self.vmx.capabilities();
        let fixed = value & capabilities.cr4_fixed0 == capabilities.cr4_fixed0
            && value & !capabilities.cr4_fixed1 == 0;
        if self.in_root() && !fixed {
            self.raise_in_l1(Exception::GENERAL_PROTECTION);
            return Ok(None);
        }
        self.whole.write(&mut self.state)?;
        let before = self.state.vmcs.guest_cr4();
        self.state.vmcs.write(Field::GuestCr4, value);
        self.state.changed(Stale::All);
        let leaves_pae = self.state.is_long() && value & cr4::PAE == 0;
        if leaves_pae || self.whole.write(&mut self.state).is_err() {
            self.state.vmcs.write(Field::GuestCr4, before);
            self.state.changed(Stale::All);
            self.raise_in_l1(Exception::GENERAL_PROTECTION);
            return Ok(None);
        }
        self.state.skip(length);
        Ok(None)
    }

    pub(super) fn access_msr(&mut self, fetched: &Fetched) -> Result<Option<Out>, SoftError> {
        match self.software_msr(fetched) {
            None => return self.execute_natively(fetched),
            Some(Ok(())) => self.state.skip(fetched.length()),
            Some(Err(exception)) => self.raise_in_l1(exception),
        }
        Ok(None)
    }

    /// RDMSR and WRMSR of what is not KVM's, for L1 or L2: the MSRs of VMX, and those of the VMM's
    /// devices. RIP stays. `None`: it is another one.
    pub(super) fn software_msr(&mut self, fetched: &Fetched) -> Option<Result<(), Exception>> {
        let index = self.state.register(RCX) as u32;
        let is_vmx = index == FEATURE_CONTROL || VMX_MSRS.contains(&index);
        let result = if fetched.kind() == Kind::Rdmsr {
            let value = match self.vmx.capabilities().msr(index) {
                Some(value) => Ok(value),
                None if is_vmx => Err(MsrFault(index)),
                None => self.world.read_msr(index)?,
            };
            value.map(|value| {
                self.state.set_register(RAX, value & LOW);
                self.state.set_register(RDX, value >> 32);
            })
        } else if is_vmx {
            // IA32_FEATURE_CONTROL is locked, as firmware leaves it.
            Err(MsrFault(index))
        } else {
            let value = self.state.register(RAX) & LOW | self.state.register(RDX) << 32;
            self.world.write_msr(index, value)?
        };
        Some(result.map_err(|_| Exception::GENERAL_PROTECTION))
    }

    pub(super) fn raise_in_l1(&mut self, exception: Exception) {
        if exception.vector == vector::PAGE_FAULT {
            self.state.cr2 = exception.address;
            self.state.changed(Stale::All);
        }
        self.for_l1 = Some(Event::exception(exception.vector, exception.error_code));
    }
}
