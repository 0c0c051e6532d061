// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How a VMCS field is named by a number (SDM volume 3, section 26.11.2, "VMREAD, VMWRITE, and
//! Encodings of VMCS Fields").

use core::fmt;

/// The encoding of a VMCS component: what VMREAD and VMWRITE take as operand.
///
/// Any 32-bit number is one; [`Encoding::is_well_formed`] says whether its reserved bits are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Encoding(pub u32);

/// How wide a field is (bits 14:13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// 16 bits.
    Bits16,
    /// 64 bits, on every processor.
    Bits64,
    /// 32 bits.
    Bits32,
    /// 64 bits on processors with Intel 64 architecture, 32 on others.
    Natural,
}

impl Width {
    /// A 1 in each bit that a field of this width has (on a processor with Intel 64 architecture).
    #[inline]
    pub const fn mask(self) -> u64 {
        match self {
            Self::Bits16 => 0xffff,
            Self::Bits32 => 0xffff_ffff,
            Self::Bits64 | Self::Natural => u64::MAX,
        }
    }
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bits16 => "16",
            Self::Bits64 => "64",
            Self::Bits32 => "32",
            Self::Natural => "natural",
        })
    }
}

/// What a field is for (bits 11:10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Controls of execution, exit and entry.
    Control,
    /// VM-exit information, which is read-only where IA32_VMX_MISC bit 29 is 0.
    ExitInformation,
    /// The guest-state area.
    Guest,
    /// The host-state area.
    Host,
}

/// Which part of a 64-bit field is accessed (bit 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// All of it.
    Full,
    /// Bits 63:32 of a 64-bit field.
    High,
}

impl Encoding {
    /// Bits 31:15 and bit 12, which must be 0.
    const RESERVED: u32 = 0xffff_9000;

    /// How wide the field is.
    #[inline]
    pub const fn width(self) -> Width {
        match (self.0 >> 13) & 3 {
            0 => Width::Bits16,
            1 => Width::Bits64,
            2 => Width::Bits32,
            _ => Width::Natural,
        }
    }

    /// What the field is for.
    #[inline]
    pub const fn kind(self) -> Kind {
        match (self.0 >> 10) & 3 {
            0 => Kind::Control,
            1 => Kind::ExitInformation,
            2 => Kind::Guest,
            _ => Kind::Host,
        }
    }

    /// Its number among the fields of its width and kind.
    pub const fn index(self) -> u32 {
        (self.0 >> 1) & 0x1ff
    }

    /// Which part of the field is meant.
    pub const fn access(self) -> Access {
        match self.0 & 1 {
            0 => Access::Full,
            _ => Access::High,
        }
    }

    /// The encoding of the whole field.
    pub const fn full(self) -> Self {
        Self(self.0 & !1)
    }

    /// Whether the reserved bits are 0, and high access is that of a 64-bit field.
    pub const fn is_well_formed(self) -> bool {
        self.0 & Self::RESERVED == 0
            && (matches!(self.access(), Access::Full) || matches!(self.width(), Width::Bits64))
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let encoding = Encoding(0x2c01);
        assert_eq!(encoding.width(), Width::Bits64);
        assert_eq!(encoding.kind(), Kind::Host);
        assert_eq!(encoding.index(), 0);
        assert_eq!(encoding.access(), Access::High);
        assert_eq!(encoding.full(), Encoding(0x2c00));
        assert!(encoding.is_well_formed());
    }

    #[test]
    fn reserved_bits_and_high_halves_of_narrow_fields() {
        assert!(!Encoding(0x1000).is_well_formed());
        assert!(!Encoding(0x8000).is_well_formed());
        assert!(!Encoding(0x4001).is_well_formed());
        assert!(!Encoding(0x6801).is_well_formed());
        assert!(Encoding(0x6800).is_well_formed());
    }
}
