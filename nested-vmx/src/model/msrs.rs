// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A few model-specific registers.

use crate::msrs::{MsrFault, Msrs};
use crate::registers::is_canonical;

/// IA32_PAT, IA32_EFER, IA32_STAR, IA32_LSTAR, IA32_FMASK, IA32_KERNEL_GS_BASE, IA32_TSC_AUX.
const KNOWN: [u32; 7] = [
    0x277,
    0xc000_0080,
    0xc000_0081,
    0xc000_0082,
    0xc000_0084,
    0xc000_0102,
    0xc000_0103,
];
const PAT: u32 = 0x277;
const EFER: u32 = 0xc000_0080;
const LSTAR: u32 = 0xc000_0082;
const KERNEL_GS_BASE: u32 = 0xc000_0102;
const TSC_AUX: u32 = 0xc000_0103;

/// MSRs that can be read and written, each with its rule for what may be written.
#[derive(Clone, Debug, Default)]
pub struct ModelMsrs {
    values: [u64; KNOWN.len()],
}

impl ModelMsrs {
    fn at(index: u32) -> Result<usize, MsrFault> {
        KNOWN
            .iter()
            .position(|&known| known == index)
            .ok_or(MsrFault(index))
    }
}

impl Msrs for ModelMsrs {
    fn read(&self, index: u32) -> Result<u64, MsrFault> {
        self.values
            .get(Self::at(index)?)
            .copied()
            .ok_or(MsrFault(index))
    }

    fn check_write(&self, index: u32, value: u64) -> Result<(), MsrFault> {
        Self::at(index)?;
        let is_allowed = match index {
            PAT => value
                .to_le_bytes()
                .iter()
                .all(|kind| matches!(kind, 0 | 1 | 4..=7)),
            EFER => value & !0xd01 == 0,
            LSTAR | KERNEL_GS_BASE => is_canonical(value, 48),
            TSC_AUX => value >> 32 == 0,
            _ => true,
        };
        match is_allowed {
            true => Ok(()),
            false => Err(MsrFault(index)),
        }
    }

    fn write(&mut self, index: u32, value: u64) -> Result<(), MsrFault> {
        self.check_write(index, value)?;
        let at = Self::at(index)?;
        match self.values.get_mut(at) {
            Some(slot) => {
                *slot = value;
                Ok(())
            }
            None => Err(MsrFault(index)),
        }
    }
}
