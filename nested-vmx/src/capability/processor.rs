// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What VM entries depend on beyond the VMX capability MSRs: what CPUID tells L1.

use bitflags::bitflags;

bitflags! {
    /// Features of the virtual processor that make bits of guest or host state valid.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Features: u32 {
        /// Restricted transactional memory: bit 16 of the pending debug exceptions.
        const RTM = 1 << 0;
        /// Software guard extensions: bit 4 of the interruptibility state.
        const SGX = 1 << 1;
        /// CET shadow stacks.
        const CET_SS = 1 << 2;
        /// CET indirect-branch tracking.
        const CET_IBT = 1 << 3;
        /// 57-bit linear addresses, with CR4.LA57.
        const LA57 = 1 << 4;
        /// Linear-address masking: bits 62:61 of CR3.
        const LAM = 1 << 5;
        /// Process-context identifiers.
        const PCID = 1 << 6;
        /// Bus-lock detection: bit 2 of IA32_DEBUGCTL, bit 11 of the pending debug exceptions.
        const BUS_LOCK_DEBUG = 1 << 7;
        /// Flexible return and event delivery.
        const FRED = 1 << 8;
    }
}

/// The virtual processor that L1 sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Processor {
    /// Bits of a physical address: CPUID.80000008H:EAX\[7:0\], 52 at most.
    pub physical_address_width: u32,
    /// Features.
    pub features: Features,
    /// Bits of IA32_EFER that may be 1.
    pub efer: u64,
    /// Bits of IA32_DEBUGCTL that may be 1.
    pub debugctl: u64,
    /// Bits of IA32_PERF_GLOBAL_CTRL that may be 1 (CPUID.0AH).
    pub perf_global_ctrl: u64,
}

impl Processor {
    /// A processor with Intel 64 architecture, this physical-address width (up to 52; more counts
    /// as 52), no optional features, and no performance counters.
    pub const fn new(physical_address_width: u32) -> Self {
        Self {
            physical_address_width: match physical_address_width {
                0..=52 => physical_address_width,
                _ => 52,
            },
            features: Features::empty(),
            // SCE, LME, LMA, NXE.
            efer: 0xd01,
            // LBR, BTF, TR, BTS, BTINT, BTS_OFF_OS, BTS_OFF_USR, FREEZE_LBRS_ON_PMI,
            // FREEZE_PERFMON_ON_PMI, ENABLE_UNCORE_PMI, FREEZE_WHILE_SMM.
            debugctl: 0x7fc3,
            perf_global_ctrl: 0,
        }
    }

    /// A 1 in each bit that a physical address must not have.
    pub const fn beyond_physical(self) -> u64 {
        match self.physical_address_width {
            width @ 0..=63 => u64::MAX << width,
            _ => 0,
        }
    }

    /// Whether it has one of these features.
    pub const fn has(self, features: Features) -> bool {
        self.features.intersects(features)
    }

    /// Whether `other` has everything that this processor has.
    pub const fn is_subset_of(self, other: &Self) -> bool {
        self.physical_address_width <= other.physical_address_width
            && other.features.contains(self.features)
            && self.efer & !other.efer == 0
            && self.debugctl & !other.debugctl == 0
            && self.perf_global_ctrl & !other.perf_global_ctrl == 0
    }

    /// Bits of a linear address, with this CR4.
    pub const fn linear_address_width(self, cr4: u64) -> u32 {
        match self.has(Features::LA57) && cr4 & crate::registers::cr4::LA57 != 0 {
            true => 57,
            false => 48,
        }
    }
}
