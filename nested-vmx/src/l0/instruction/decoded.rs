// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! From a decoded instruction to one that can be executed: registers are read, and the memory
//! operand gets its address when it is accessed.

use super::outcome::Exception;
use super::{Destination, Instruction, MemoryOperand, Source};
use crate::operand::{
    self, Decoded, Gpr, OperandFault, Operands, RegisterOrMemory, Registers, VmxInstruction,
};

const EAX: Gpr = Gpr::new(0);
const ECX: Gpr = Gpr::new(1);

/// The linear memory of the guest that runs, at its privilege level.
pub trait LinearMemory {
    /// Fills all of `into` from the linear address on.
    ///
    /// # Errors
    ///
    /// The exception that the access causes.
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Exception>;

    /// Writes all of `from` to the linear address and on.
    ///
    /// # Errors
    ///
    /// The exception that the access causes. Nothing was written.
    fn write(&self, address: u64, from: &[u8]) -> Result<(), Exception>;
}

/// The memory operand of a decoded instruction, if it has one: the SDM's checks of segmentation,
/// then the guest's linear memory.
#[derive(Clone, Copy)]
pub struct LinearOperand<'a> {
    operand: Option<operand::MemoryOperand>,
    registers: &'a Registers,
    memory: &'a dyn LinearMemory,
}

impl<'a> LinearOperand<'a> {
    /// The memory operand of `decoded`, executed with these registers.
    pub fn new(decoded: &Decoded, registers: &'a Registers, memory: &'a dyn LinearMemory) -> Self {
        Self {
            operand: decoded.memory().copied(),
            registers,
            memory,
        }
    }

    fn address(&self, size: usize, write: bool) -> Result<u64, Exception> {
        // An instruction without a memory operand accesses none.
        let operand = self.operand.ok_or(Exception::INVALID_OPCODE)?;
        operand
            .linear_address(self.registers, size, write)
            .map_err(|fault| match fault {
                OperandFault::GeneralProtection => Exception::GENERAL_PROTECTION,
                OperandFault::StackFault => Exception::STACK_FAULT,
            })
    }
}

impl MemoryOperand for LinearOperand<'_> {
    fn read(&self, into: &mut [u8]) -> Result<(), Exception> {
        self.memory.read(self.address(into.len(), false)?, into)
    }

    fn write(&self, from: &[u8]) -> Result<(), Exception> {
        self.memory.write(self.address(from.len(), true)?, from)
    }
}

impl core::fmt::Debug for LinearOperand<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("LinearOperand").field(&self.operand).finish()
    }
}

impl<'a> Instruction<'a> {
    /// The decoded instruction, with its register operands read, and `memory` for its memory
    /// operand: a [`LinearOperand`], usually.
    pub fn from_decoded(
        decoded: &Decoded,
        registers: &Registers,
        memory: &'a dyn MemoryOperand,
    ) -> Self {
        // 32 bits outside 64-bit mode.
        let register = |register: Gpr| match registers.is_64_bit {
            true => registers.gpr(register),
            false => registers.gpr(register) & 0xffff_ffff,
        };
        let (field, value) = match decoded.operands {
            Operands::Field { encoding, value } => (register(encoding), Some(value)),
            _ => (0, None),
        };
        let kind = match decoded.operands {
            Operands::Invalidation { kind, .. } => register(kind),
            _ => 0,
        };
        match decoded.instruction {
            VmxInstruction::Vmxon => Self::Vmxon(memory),
            VmxInstruction::Vmxoff => Self::Vmxoff,
            VmxInstruction::Vmclear => Self::Vmclear(memory),
            VmxInstruction::Vmptrld => Self::Vmptrld(memory),
            VmxInstruction::Vmptrst => Self::Vmptrst(memory),
            VmxInstruction::Vmread => Self::Vmread {
                field,
                to: match value {
                    Some(RegisterOrMemory::Register(_)) => Destination::Register,
                    _ => Destination::Memory(memory),
                },
            },
            VmxInstruction::Vmwrite => Self::Vmwrite {
                field,
                from: match value {
                    Some(RegisterOrMemory::Register(value)) => Source::Register(register(value)),
                    _ => Source::Memory(memory),
                },
            },
            VmxInstruction::Vmlaunch => Self::Vmlaunch,
            VmxInstruction::Vmresume => Self::Vmresume,
            VmxInstruction::Invept => Self::Invept {
                kind,
                descriptor: memory,
            },
            VmxInstruction::Invvpid => Self::Invvpid {
                kind,
                descriptor: memory,
            },
            VmxInstruction::Vmcall => Self::Vmcall,
            VmxInstruction::Vmfunc => Self::Vmfunc {
                function: registers.gpr(EAX) as u32,
                operand: registers.gpr(ECX) as u32,
            },
        }
    }
}
