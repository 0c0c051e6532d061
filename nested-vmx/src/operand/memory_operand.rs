// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What an instruction says about the place of its memory operand (SDM volume 1, section 3.7.5).

/// A general-purpose register by its number in instructions: 0 for RAX, then RCX, RDX, RBX, RSP,
/// RBP, RSI, RDI, R8 to R15.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gpr(u8);

impl Gpr {
    /// RSP, or ESP, or SP.
    pub const RSP: Self = Self(4);
    /// RBP, or EBP, or BP.
    pub const RBP: Self = Self(5);

    /// The register whose number is in the low four bits of `number`.
    pub const fn new(number: u8) -> Self {
        Self(number & 0xf)
    }

    /// Its number, 0 to 15.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// A segment register, numbered as in the VM-exit instruction information.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Segment {
    /// ES.
    Es,
    /// CS.
    Cs,
    /// SS.
    Ss,
    /// DS.
    Ds,
    /// FS.
    Fs,
    /// GS.
    Gs,
}

impl Segment {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] = [Self::Es, Self::Cs, Self::Ss, Self::Ds, Self::Fs, Self::Gs];

    /// The segment register with this number, if there is one.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Es,
            1 => Self::Cs,
            2 => Self::Ss,
            3 => Self::Ds,
            4 => Self::Fs,
            5 => Self::Gs,
            _ => return None,
        })
    }

    /// The one that is used where the instruction names none: SS if the address has RSP or RBP as
    /// its base, DS otherwise (SDM volume 1, table 3-5).
    pub const fn default_for(base: Option<Gpr>) -> Self {
        match base {
            Some(Gpr::RSP | Gpr::RBP) => Self::Ss,
            _ => Self::Ds,
        }
    }
}

/// How wide the parts of an effective address are, and where it wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressSize {
    /// 16 bits.
    Bits16,
    /// 32 bits.
    Bits32,
    /// 64 bits.
    Bits64,
}

impl AddressSize {
    /// A 1 in each bit that an effective address has.
    pub const fn mask(self) -> u64 {
        match self {
            Self::Bits16 => 0xffff,
            Self::Bits32 => 0xffff_ffff,
            Self::Bits64 => u64::MAX,
        }
    }
}

/// What the index register is multiplied by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Scale {
    /// 1, also where there is no index.
    #[default]
    By1,
    /// 2.
    By2,
    /// 4.
    By4,
    /// 8.
    By8,
}

impl Scale {
    /// From the low two bits of `shift`, the binary logarithm of the factor.
    pub const fn from_shift(shift: u8) -> Self {
        match shift & 3 {
            0 => Self::By1,
            1 => Self::By2,
            2 => Self::By4,
            _ => Self::By8,
        }
    }

    /// The binary logarithm of the factor: 0 to 3.
    pub const fn shift(self) -> u8 {
        self as u8
    }
}

/// A memory operand: where it is, in terms of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemoryOperand {
    /// The segment.
    pub segment: Segment,
    /// The base register.
    pub base: Option<Gpr>,
    /// The index register.
    pub index: Option<Gpr>,
    /// What the index is multiplied by.
    pub scale: Scale,
    /// The displacement, sign-extended. Of a RIP-relative operand, the displacement and the address
    /// of the next instruction, as in the exit qualification (SDM volume 3, section 29.2.1). Bits
    /// beyond the address size mean nothing.
    pub displacement: u64,
    /// The address size.
    pub address_size: AddressSize,
}
