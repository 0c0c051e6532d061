// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! IA32_VMX_MISC (SDM volume 3, appendix A.6).

use bitflags::bitflags;

bitflags! {
    /// The features that IA32_VMX_MISC tells of, each in a bit of its own.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct MiscFeatures: u64 {
        /// VM exits store IA32_EFER.LMA into the control "IA-32e mode guest".
        const SAVE_EFER_LMA = 1 << 5;
        /// The activity state HLT.
        const HLT = 1 << 6;
        /// The activity state shutdown.
        const SHUTDOWN = 1 << 7;
        /// The activity state wait-for-SIPI.
        const WAIT_FOR_SIPI = 1 << 8;
        /// Intel PT in VMX operation.
        const PROCESSOR_TRACE = 1 << 14;
        /// RDMSR of IA32_SMBASE in SMM.
        const SMBASE_MSR = 1 << 15;
        /// VMXOFF can leave SMIs blocked.
        const SMM_VMXOFF = 1 << 28;
        /// VMWRITE of VM-exit information fields.
        const WRITE_ANY_FIELD = 1 << 29;
        /// Injection of software events with an instruction length of 0.
        const ZERO_LENGTH_INJECTION = 1 << 30;
    }
}

/// The value of IA32_VMX_MISC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Misc(pub u64);

impl Misc {
    /// Bits that are reserved: 13:9 and 31.
    pub const RESERVED: u64 = 0x1f << 9 | 1 << 31;

    /// Bits 4:0.
    pub(super) const TIMER_RATE: u64 = 0x1f;
    /// Bits 24:16.
    pub(super) const CR3_TARGETS: u64 = 0x1ff << 16;
    /// Bits 27:25.
    pub(super) const MSR_LIST: u64 = 7 << 25;
    /// Bits 63:32.
    pub(super) const MSEG: u64 = 0xffff_ffff << 32;

    /// The features among its bits.
    pub const fn features(self) -> MiscFeatures {
        MiscFeatures::from_bits_truncate(self.0)
    }

    const fn bit(self, bit: u32) -> bool {
        self.0 >> bit & 1 != 0
    }

    /// Bits 4:0: the preemption timer counts down whenever this bit of the TSC changes.
    pub const fn preemption_timer_rate(self) -> u32 {
        (self.0 & 0x1f) as u32
    }

    /// Bit 5: VM exits store IA32_EFER.LMA into the control "IA-32e mode guest".
    pub const fn saves_efer_lma(self) -> bool {
        self.bit(5)
    }

    /// Whether an activity state other than active (0) is supported: bit 6 for HLT (1), bit 7 for
    /// shutdown (2), bit 8 for wait-for-SIPI (3).
    pub const fn has_activity_state(self, state: u32) -> bool {
        match state {
            0 => true,
            1..=3 => self.bit(5 + state),
            _ => false,
        }
    }

    /// Bit 14: Intel PT can be used in VMX operation.
    pub const fn has_processor_trace(self) -> bool {
        self.bit(14)
    }

    /// Bit 15: RDMSR of IA32_SMBASE in SMM.
    pub const fn has_smbase_msr(self) -> bool {
        self.bit(15)
    }

    /// Bits 24:16: how many CR3-target values there are.
    pub const fn cr3_targets(self) -> u32 {
        (self.0 >> 16 & 0x1ff) as u32
    }

    /// Bits 27:25: how many entries an MSR list should have at most (recommended).
    pub const fn max_msr_list(self) -> u32 {
        ((self.0 >> 25 & 7) as u32 + 1) * 512
    }

    /// Bit 28: VMXOFF can leave SMIs blocked.
    pub const fn has_smm_vmxoff(self) -> bool {
        self.bit(28)
    }

    /// Bit 29: VMWRITE can write VM-exit information fields.
    pub const fn can_write_any_field(self) -> bool {
        self.bit(29)
    }

    /// Bit 30: a software event can be injected with an instruction length of 0.
    pub const fn allows_zero_length_injection(self) -> bool {
        self.bit(30)
    }

    /// Bits 63:32: the MSEG revision identifier.
    pub const fn mseg_revision(self) -> u32 {
        (self.0 >> 32) as u32
    }
}
