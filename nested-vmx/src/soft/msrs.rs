// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The virtual processor's MSRs, behind the MSR areas of a vmcs12.

use super::engine::{Engine, is_with_the_guest};
use crate::capability::{Capabilities, Processor};
use crate::msrs::{MsrFault, Msrs};

/// IA32_FS_BASE and IA32_GS_BASE, and those of x2APIC: an area may not load them (SDM volume 3,
/// section 28.4); the core sees to the first two.
const X2APIC: core::ops::RangeInclusive<u32> = 0x800..=0x8ff;
/// IA32_TIME_STAMP_COUNTER.
pub(crate) const TSC: u32 = 0x10;
/// IA32_EFER.
const EFER: u32 = 0xc000_0080;
/// IA32_PAT.
const PAT: u32 = 0x277;
/// IA32_SYSENTER_ESP, IA32_SYSENTER_EIP, IA32_FS_BASE, IA32_GS_BASE, IA32_LSTAR, IA32_CSTAR,
/// IA32_KERNEL_GS_BASE: addresses.
const ADDRESSES: [u32; 7] = [
    0x175,
    0x176,
    0xc000_0100,
    0xc000_0101,
    0xc000_0082,
    0xc000_0083,
    0xc000_0102,
];

/// MSRs that KVM has, and those that tell of VMX.
pub(crate) struct SharedMsrs<'a> {
    /// The vCPU on which the guest runs, and L1's.
    pub(crate) running: &'a Engine,
    pub(crate) whole: &'a Engine,
    pub(crate) capabilities: Capabilities,
    pub(crate) physical: Processor,
}

impl SharedMsrs<'_> {
    fn engine(&self, index: u32) -> &Engine {
        match is_with_the_guest(index) {
            true => self.running,
            false => self.whole,
        }
    }
}

impl Msrs for SharedMsrs<'_> {
    fn read(&self, index: u32) -> Result<u64, MsrFault> {
        if let Some(value) = self.capabilities.msr(index) {
            return Ok(value);
        }
        self.engine(index).msr(index).ok_or(MsrFault(index))
    }

    fn check_write(&self, index: u32, value: u64) -> Result<(), MsrFault> {
        let valid = match index {
            _ if self.capabilities.msr(index).is_some() || X2APIC.contains(&index) => false,
            EFER => value & !self.physical.efer == 0,
            PAT => value
                .to_le_bytes()
                .iter()
                .all(|kind| matches!(kind, 0 | 1 | 4..=7)),
            _ if ADDRESSES.contains(&index) => (value as i64) << 16 >> 16 == value as i64,
            // KVM tells only by writing; the value that is there is put back.
            _ => match self.engine(index).msr(index) {
                None => false,
                Some(_) if index == TSC => true,
                Some(before) => {
                    let accepted = self.engine(index).set_msr(index, value);
                    self.engine(index).set_msr(index, before);
                    accepted
                }
            },
        };
        match valid {
            true => Ok(()),
            false => Err(MsrFault(index)),
        }
    }

    fn write(&mut self, index: u32, value: u64) -> Result<(), MsrFault> {
        self.check_write(index, value)?;
        // IA32_EFER and the like go to the state with the VMCS as well, which is written later.
        self.engine(index).set_msr(index, value);
        Ok(())
    }
}
