// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The APIC's MSRs: its base, the TSC deadline, and an x2APIC's registers.

use super::LocalApic;
use super::base::Change;
use super::register::Register;
use crate::devices::interrupts::message::DeliveryMode;
use crate::devices::interrupts::now::Now;

const IA32_APIC_BASE: u32 = 0x1b;
const IA32_TSC_DEADLINE: u32 = 0x6e0;

/// The registers of an x2APIC.
const FIRST: u32 = 0x800;

/// The access of an MSR faults: #GP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the access of the local APIC's MSR faults")]
pub struct ApicMsrFault;

/// An MSR of the APIC.
enum Msr {
    Base,
    TscDeadline,
    /// Where the register would be.
    Register(u8),
}

impl Msr {
    fn at(index: u32) -> Option<Self> {
        Some(match index {
            IA32_APIC_BASE => Self::Base,
            IA32_TSC_DEADLINE => Self::TscDeadline,
            _ => Self::Register(u8::try_from(index.checked_sub(FIRST)?).ok()?),
        })
    }
}

impl LocalApic {
    /// RDMSR. `None`: the MSR is not the APIC's.
    pub fn read_msr(&mut self, index: u32, now: Now) -> Option<Result<u64, ApicMsrFault>> {
        let msr = Msr::at(index)?;
        self.advance(now);
        Some(match msr {
            Msr::Base => Ok(self.base.value()),
            Msr::TscDeadline => Ok(self.timer.tsc_deadline()),
            Msr::Register(slot) => self.read_x2apic(slot, now),
        })
    }

    /// WRMSR. `None`: the MSR is not the APIC's.
    pub fn write_msr(
        &mut self,
        index: u32,
        value: u64,
        now: Now,
    ) -> Option<Result<(), ApicMsrFault>> {
        let msr = Msr::at(index)?;
        self.advance(now);
        Some(match msr {
            Msr::Base => self.write_base(value),
            Msr::TscDeadline => {
                self.timer.set_tsc_deadline(value);
                // It may have passed already.
                self.advance(now);
                Ok(())
            }
            Msr::Register(slot) => self.write_x2apic(slot, value, now),
        })
    }

    fn write_base(&mut self, value: u64) -> Result<(), ApicMsrFault> {
        match self.base.write(value).ok_or(ApicMsrFault)? {
            Change::Keeps => {}
            Change::SwitchesOff => self.init(),
        }
        Ok(())
    }

    fn x2apic_register(&self, slot: u8) -> Result<Register, ApicMsrFault> {
        Register::of_x2apic(slot)
            .filter(|_| self.base.is_x2apic())
            .ok_or(ApicMsrFault)
    }

    fn read_x2apic(&self, slot: u8, now: Now) -> Result<u64, ApicMsrFault> {
        match self.x2apic_register(slot)? {
            Register::CommandLow => Ok(self.command),
            register if register.is_readable() => Ok(self.read_register(register, now).into()),
            _ => Err(ApicMsrFault),
        }
    }

    fn write_x2apic(&mut self, slot: u8, value: u64, now: Now) -> Result<(), ApicMsrFault> {
        let register = self.x2apic_register(slot)?;
        let permitted = register.permitted().ok_or(ApicMsrFault)?;
        if value & !permitted != 0 {
            return Err(ApicMsrFault);
        }
        let [a, b, c, d, ..] = value.to_le_bytes();
        match register {
            Register::CommandLow => self.set_whole_command(value),
            Register::SelfIpi => self.send_to_itself(DeliveryMode::Fixed, a),
            _ => self.write_register(register, u32::from_le_bytes([a, b, c, d]), now),
        }
        Ok(())
    }
}
