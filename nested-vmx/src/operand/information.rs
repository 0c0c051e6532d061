// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The VM-exit instruction-information field (SDM volume 3, section 29.2.5, tables 29-8 to 29-15).

use super::memory_operand::{AddressSize, Gpr, MemoryOperand, Scale, Segment};

/// The size of a register operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperandSize {
    /// 16 bits.
    Bits16,
    /// 32 bits.
    Bits32,
    /// 64 bits.
    Bits64,
}

/// The value of the VM-exit instruction-information field. Which parts it has depends on the
/// instruction; what is not among them is undefined.
///
/// | part | bits | instructions |
/// |---|---|---|
/// | [`scale`](Self::scale) | 1:0 | all with a memory operand but INS and OUTS |
/// | [`reg1`](Self::reg1) | 6:3 | VMREAD, VMWRITE; LLDT, LTR, SLDT, STR; RDRAND, RDSEED; TPAUSE, UMWAIT; LOADIWKEY |
/// | [`address_size`](Self::address_size) | 9:7 | all with a memory operand, INS, OUTS |
/// | [`is_register`](Self::is_register) | 10 | VMREAD, VMWRITE; LLDT, LTR, SLDT, STR; 0 for others with a memory operand |
/// | [`operand_size`](Self::operand_size) | 12:11 | RDRAND, RDSEED; bit 11 for LGDT, LIDT, SGDT, SIDT |
/// | [`segment`](Self::segment) | 17:15 | all with a memory operand, OUTS |
/// | [`index`](Self::index) | 22:18 | all with a memory operand |
/// | [`base`](Self::base) | 27:23 | all with a memory operand |
/// | [`identity`](Self::identity) | 29:28 | LGDT, LIDT, SGDT, SIDT; LLDT, LTR, SLDT, STR |
/// | [`reg2`](Self::reg2) | 31:28 | VMREAD, VMWRITE; INVEPT, INVPCID, INVVPID; LOADIWKEY |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct InstructionInfo(pub u32);

const REG1: u32 = 3;
const ADDRESS_SIZE: u32 = 7;
const REGISTER: u32 = 10;
const OPERAND_SIZE: u32 = 11;
const SEGMENT: u32 = 15;
const INDEX: u32 = 18;
const NO_INDEX: u32 = 22;
const BASE: u32 = 23;
const NO_BASE: u32 = 27;
const IDENTITY: u32 = 28;
const REG2: u32 = 28;

impl InstructionInfo {
    /// `width` bits (up to 8) from bit `at` (up to 31) on.
    const fn part(self, at: u32, width: u32) -> u8 {
        (self.0 >> at & ((1 << width) - 1)) as u8
    }

    const fn bit(self, at: u32) -> bool {
        self.part(at, 1) != 0
    }

    /// What the index is multiplied by. Undefined without an index.
    pub const fn scale(self) -> Scale {
        Scale::from_shift(self.part(0, 2))
    }

    /// The first register operand: the one that ModRM.r/m names, where
    /// [`is_register`](Self::is_register) is true or the format has no memory operand.
    pub const fn reg1(self) -> Gpr {
        Gpr::new(self.part(REG1, 4))
    }

    /// The address size; `None` for a value that has no meaning.
    pub const fn address_size(self) -> Option<AddressSize> {
        Some(match self.part(ADDRESS_SIZE, 3) {
            0 => AddressSize::Bits16,
            1 => AddressSize::Bits32,
            2 => AddressSize::Bits64,
            _ => return None,
        })
    }

    /// Whether the operand is the register [`reg1`](Self::reg1) and not memory.
    pub const fn is_register(self) -> bool {
        self.bit(REGISTER)
    }

    /// The operand size of RDRAND and RDSEED; `None` for a value that has no meaning.
    pub const fn operand_size(self) -> Option<OperandSize> {
        Some(match self.part(OPERAND_SIZE, 2) {
            0 => OperandSize::Bits16,
            1 => OperandSize::Bits32,
            2 => OperandSize::Bits64,
            _ => return None,
        })
    }

    /// The segment of the memory operand; `None` for a value that has no meaning.
    pub const fn segment(self) -> Option<Segment> {
        Segment::from_number(self.part(SEGMENT, 3))
    }

    /// The index register of the memory operand, if it has one.
    pub const fn index(self) -> Option<Gpr> {
        match self.bit(NO_INDEX) {
            true => None,
            false => Some(Gpr::new(self.part(INDEX, 4))),
        }
    }

    /// The base register of the memory operand, if it has one.
    pub const fn base(self) -> Option<Gpr> {
        match self.bit(NO_BASE) {
            true => None,
            false => Some(Gpr::new(self.part(BASE, 4))),
        }
    }

    /// Which of the four instructions of its kind it was: SGDT, SIDT, LGDT, LIDT; or SLDT, STR,
    /// LLDT, LTR; in this order from 0 on.
    pub const fn identity(self) -> u8 {
        self.part(IDENTITY, 2)
    }

    /// The second register operand: the one that ModRM.reg names.
    pub const fn reg2(self) -> Gpr {
        Gpr::new(self.part(REG2, 4))
    }

    /// The memory operand, with the exit qualification as its displacement; `None` if the operand is
    /// a register, or a part has no meaning.
    pub fn memory_operand(self, qualification: u64) -> Option<MemoryOperand> {
        if self.is_register() {
            return None;
        }
        let index = self.index();
        Some(MemoryOperand {
            segment: self.segment()?,
            base: self.base(),
            index,
            scale: index.map_or(Scale::By1, |_| self.scale()),
            displacement: qualification,
            address_size: self.address_size()?,
        })
    }

    /// That of an instruction with this memory operand. Undefined bits are 0.
    pub(super) fn of_memory(operand: &MemoryOperand) -> Self {
        let address_size = match operand.address_size {
            AddressSize::Bits16 => 0,
            AddressSize::Bits32 => 1,
            AddressSize::Bits64 => 2,
        };
        let register = |register: Option<Gpr>, at, invalid| match register {
            Some(register) => u32::from(register.number()) << at,
            None => 1_u32 << invalid,
        };
        let scale = operand.index.map_or(0, |_| operand.scale.shift());
        Self(
            u32::from(scale)
                | address_size << ADDRESS_SIZE
                | (operand.segment as u32) << SEGMENT
                | register(operand.index, INDEX, NO_INDEX)
                | register(operand.base, BASE, NO_BASE),
        )
    }

    /// That of an instruction whose operand is this register. Undefined bits are 0.
    pub(super) fn of_register(register: Gpr) -> Self {
        Self(u32::from(register.number()) << REG1 | 1 << REGISTER)
    }

    /// The same with this second register operand.
    pub(super) fn with_reg2(self, register: Gpr) -> Self {
        Self(self.0 & !(0xf << REG2) | u32::from(register.number()) << REG2)
    }
}
