// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The MSRs of a scenario's virtual processor.

use crate::msrs::{MsrFault, Msrs};
use crate::registers::is_canonical;

/// What WRMSR takes.
#[derive(Clone, Copy, Debug)]
enum Takes {
    /// These bits.
    Bits(u64),
    /// A canonical address.
    Canonical,
    /// Eight memory types.
    MemoryTypes,
}

/// MSRs that can be loaded from an MSR area and say what they take.
const KNOWN: &[(u32, Takes)] = &[
    // IA32_SYSENTER_CS, ESP, EIP.
    (0x174, Takes::Bits(0xffff_ffff)),
    (0x175, Takes::Canonical),
    (0x176, Takes::Canonical),
    // IA32_PAT.
    (0x277, Takes::MemoryTypes),
    // IA32_STAR, LSTAR, FMASK, KERNEL_GS_BASE, TSC_AUX.
    (0xc000_0081, Takes::Bits(u64::MAX)),
    (0xc000_0082, Takes::Canonical),
    (0xc000_0084, Takes::Bits(0xffff_ffff)),
    (0xc000_0102, Takes::Canonical),
    (0xc000_0103, Takes::Bits(0xffff_ffff)),
];

/// MSRs that WRMSR takes, but that are never loaded from an MSR area (SDM volume 3, section 28.4):
/// IA32_BIOS_UPDT_TRIG, IA32_BIOS_SIGN_ID, IA32_SMM_MONITOR_CTL, the x2APIC's first and last,
/// IA32_FS_BASE, IA32_GS_BASE.
const NEVER_LOADED: &[(u32, Takes)] = &[
    (0x79, Takes::Canonical),
    (0x8b, Takes::Bits(u64::MAX)),
    (0x9b, Takes::Bits(5)),
    (0x800, Takes::Bits(u64::MAX)),
    (0x808, Takes::Bits(0xff)),
    (0x8ff, Takes::Bits(u64::MAX)),
    (0xc000_0100, Takes::Canonical),
    (0xc000_0101, Takes::Canonical),
];

/// A processor with a few MSRs. All read as 0; writes are checked, and lost.
#[derive(Clone, Copy, Debug, Default)]
pub struct SomeMsrs;

impl SomeMsrs {
    /// Indices of MSRs that can be loaded.
    pub(super) fn indices() -> impl ExactSizeIterator<Item = u32> {
        KNOWN.iter().map(|&(index, _)| index)
    }

    /// Indices of MSRs that are there, but are not loaded.
    pub(super) fn never_loaded() -> impl ExactSizeIterator<Item = u32> {
        NEVER_LOADED.iter().map(|&(index, _)| index)
    }

    fn takes(index: u32) -> Result<Takes, MsrFault> {
        KNOWN
            .iter()
            .chain(NEVER_LOADED)
            .find(|&&(known, _)| known == index)
            .map(|&(_, takes)| takes)
            .ok_or(MsrFault(index))
    }

    /// The value nearest to `value` that the register takes.
    pub(super) fn nearest(index: u32, value: u64) -> u64 {
        match Self::takes(index) {
            Ok(Takes::Bits(mask)) => value & mask,
            Ok(Takes::Canonical) => ((value << 16) as i64 >> 16) as u64,
            Ok(Takes::MemoryTypes) => memory_types(value),
            Err(_) => 0,
        }
    }
}

/// Eight memory types that IA32_PAT takes, from any bits: 0, 1, 4, 5, 6 or 7 each.
pub(super) fn memory_types(bits: u64) -> u64 {
    let types = bits.to_le_bytes().map(|byte| match byte & 7 {
        2 => 6,
        3 => 4,
        good => good,
    });
    u64::from_le_bytes(types)
}

impl Msrs for SomeMsrs {
    fn read(&self, index: u32) -> Result<u64, MsrFault> {
        Self::takes(index).map(|_| 0)
    }

    fn check_write(&self, index: u32, value: u64) -> Result<(), MsrFault> {
        let taken = match Self::takes(index)? {
            Takes::Bits(mask) => value & !mask == 0,
            Takes::Canonical => is_canonical(value, 48),
            Takes::MemoryTypes => value == memory_types(value),
        };
        match taken {
            true => Ok(()),
            false => Err(MsrFault(index)),
        }
    }

    fn write(&mut self, index: u32, value: u64) -> Result<(), MsrFault> {
        self.check_write(index, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_is_nearest() {
        for index in SomeMsrs::indices() {
            for value in [0, u64::MAX, 0x8000_0000_0000, 0x0203_0809_ffff_0a10] {
                let nearest = SomeMsrs::nearest(index, value);
                assert_eq!(SomeMsrs.check_write(index, nearest), Ok(()));
            }
        }
        let unknown = 0xc000_0105;
        assert_eq!(SomeMsrs.check_write(unknown, 0), Err(MsrFault(unknown)));
        assert_eq!(SomeMsrs.check_write(0x175, 1 << 47), Err(MsrFault(0x175)));
        assert_eq!(SomeMsrs.check_write(0x277, 2), Err(MsrFault(0x277)));
    }
}
