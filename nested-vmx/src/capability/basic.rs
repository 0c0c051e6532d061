// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! IA32_VMX_BASIC (SDM volume 3, appendix A.1).

use bitflags::bitflags;

bitflags! {
    /// The features that IA32_VMX_BASIC tells of, each in a bit of its own.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct BasicFeatures: u64 {
        /// Dual-monitor treatment of SMIs and SMM.
        const DUAL_MONITOR = 1 << 49;
        /// Exits for INS and OUTS give instruction information.
        const INS_OUTS_INFORMATION = 1 << 54;
        /// The TRUE capability MSRs.
        const TRUE_CONTROLS = 1 << 55;
        /// Hardware exceptions with or without an error code, whatever the vector.
        const FREE_ERROR_CODE = 1 << 56;
        /// Nested-exception support (FRED).
        const NESTED_EXCEPTION = 1 << 58;
    }
}

/// The value of IA32_VMX_BASIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Basic(pub u64);

impl Basic {
    /// Bits that are reserved: 31, 47:45, 57, 63:59.
    pub const RESERVED: u64 = 1 << 31 | 7 << 45 | 1 << 57 | 0x1f << 59;

    /// Bits 44:32.
    pub(super) const REGION_SIZE: u64 = 0x1fff << 32;

    /// Numbers in it that two processors have in common or not: what they are, and their bits.
    pub(super) const NUMBERS: [(&'static str, u64); 3] = [
        ("the VMCS revision", 0x7fff_ffff),
        ("the limit of addresses to 32 bits", 1 << 48),
        ("the memory type", 0xf << 50),
    ];

    /// The features among its bits.
    pub const fn features(self) -> BasicFeatures {
        BasicFeatures::from_bits_truncate(self.0)
    }

    const fn bit(self, bit: u32) -> bool {
        self.0 >> bit & 1 != 0
    }

    /// Bits 30:0: the revision that a VMCS region begins with.
    pub const fn revision(self) -> u32 {
        (self.0 & 0x7fff_ffff) as u32
    }

    /// Bits 44:32: bytes of a VMXON or VMCS region.
    pub const fn region_size(self) -> u32 {
        (self.0 >> 32 & 0x1fff) as u32
    }

    /// Bit 48: addresses of VMX structures have at most 32 bits.
    pub const fn is_limited_to_32_bit_addresses(self) -> bool {
        self.bit(48)
    }

    /// Bit 49: dual-monitor treatment of SMIs and SMM.
    pub const fn has_dual_monitor(self) -> bool {
        self.bit(49)
    }

    /// Bits 53:50: the memory type for VMX structures.
    pub const fn memory_type(self) -> u8 {
        (self.0 >> 50 & 0xf) as u8
    }

    /// Bit 54: exits for INS and OUTS give instruction information.
    pub const fn has_ins_outs_information(self) -> bool {
        self.bit(54)
    }

    /// Bit 55: the TRUE capability MSRs exist, and default1 controls may be 0.
    pub const fn has_true_controls(self) -> bool {
        self.bit(55)
    }

    /// Bit 56: a hardware exception can be injected with or without an error code, whatever the
    /// vector.
    pub const fn has_free_error_code(self) -> bool {
        self.bit(56)
    }

    /// Bit 58: nested-exception support (FRED).
    pub const fn has_nested_exception(self) -> bool {
        self.bit(58)
    }
}
