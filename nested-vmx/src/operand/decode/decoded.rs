// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What decoding gives.

use super::super::information::InstructionInfo;
use super::super::memory_operand::MemoryOperand;
use super::Gpr;
use crate::exit_reason::ExitReason;

/// Which VMX instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VmxInstruction {
    /// INVEPT.
    Invept,
    /// INVVPID.
    Invvpid,
    /// VMCALL.
    Vmcall,
    /// VMCLEAR.
    Vmclear,
    /// VMFUNC.
    Vmfunc,
    /// VMLAUNCH.
    Vmlaunch,
    /// VMPTRLD.
    Vmptrld,
    /// VMPTRST.
    Vmptrst,
    /// VMREAD.
    Vmread,
    /// VMRESUME.
    Vmresume,
    /// VMWRITE.
    Vmwrite,
    /// VMXOFF.
    Vmxoff,
    /// VMXON.
    Vmxon,
}

impl VmxInstruction {
    /// The reason of the VM exit that it causes in VMX non-root operation (SDM volume 3, appendix
    /// C).
    pub const fn exit_reason(self) -> ExitReason {
        match self {
            Self::Invept => ExitReason::INVEPT,
            Self::Invvpid => ExitReason::INVVPID,
            Self::Vmcall => ExitReason::VMCALL,
            Self::Vmclear => ExitReason::VMCLEAR,
            Self::Vmfunc => ExitReason::VMFUNC,
            Self::Vmlaunch => ExitReason::VMLAUNCH,
            Self::Vmptrld => ExitReason::VMPTRLD,
            Self::Vmptrst => ExitReason::VMPTRST,
            Self::Vmread => ExitReason::VMREAD,
            Self::Vmresume => ExitReason::VMRESUME,
            Self::Vmwrite => ExitReason::VMWRITE,
            Self::Vmxoff => ExitReason::VMXOFF,
            Self::Vmxon => ExitReason::VMXON,
        }
    }

    /// Whether it writes its memory operand, if it has one. The others read theirs.
    pub const fn writes_memory(self) -> bool {
        matches!(self, Self::Vmptrst | Self::Vmread)
    }
}

/// An operand that ModRM.r/m gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegisterOrMemory {
    /// A general-purpose register.
    Register(Gpr),
    /// Memory.
    Memory(MemoryOperand),
}

/// The operands of a VMX instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operands {
    /// None: VMCALL, VMFUNC, VMLAUNCH, VMRESUME, VMXOFF.
    None,
    /// 8 bytes in memory, with a physical address: VMCLEAR, VMPTRLD, VMPTRST, VMXON.
    Memory(MemoryOperand),
    /// VMREAD, VMWRITE. Both operands have 64 bits in 64-bit mode and 32 bits otherwise.
    Field {
        /// The register with the field's encoding.
        encoding: Gpr,
        /// Where the field's value goes to or comes from.
        value: RegisterOrMemory,
    },
    /// INVEPT, INVVPID.
    Invalidation {
        /// The register with the type of the invalidation.
        kind: Gpr,
        /// The descriptor, 16 bytes in memory.
        descriptor: MemoryOperand,
    },
}

/// A VMX instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decoded {
    /// Which one.
    pub instruction: VmxInstruction,
    /// Its operands.
    pub operands: Operands,
    /// Its length in bytes, 3 to 15.
    pub length: u8,
}

impl Decoded {
    /// Its memory operand, if it has one.
    pub const fn memory(&self) -> Option<&MemoryOperand> {
        match &self.operands {
            Operands::Memory(memory)
            | Operands::Invalidation {
                descriptor: memory, ..
            }
            | Operands::Field {
                value: RegisterOrMemory::Memory(memory),
                ..
            } => Some(memory),
            Operands::None
            | Operands::Field {
                value: RegisterOrMemory::Register(_),
                ..
            } => None,
        }
    }

    /// The VM-exit instruction information that the processor gives for it (SDM volume 3, section
    /// 29.2.5). Undefined bits are 0.
    pub fn information(&self) -> InstructionInfo {
        match &self.operands {
            Operands::None => InstructionInfo(0),
            Operands::Memory(memory) => InstructionInfo::of_memory(memory),
            Operands::Field { encoding, value } => match value {
                RegisterOrMemory::Register(register) => InstructionInfo::of_register(*register),
                RegisterOrMemory::Memory(memory) => InstructionInfo::of_memory(memory),
            }
            .with_reg2(*encoding),
            Operands::Invalidation { kind, descriptor } => {
                InstructionInfo::of_memory(descriptor).with_reg2(*kind)
            }
        }
    }

    /// The exit qualification that the processor gives for it: the displacement of its memory
    /// operand, 0 if it has none (SDM volume 3, section 29.2.1).
    pub fn qualification(&self) -> u64 {
        self.memory().map_or(0, |memory| memory.displacement)
    }
}
