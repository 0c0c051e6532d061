// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Opcodes of VMX instructions (SDM volume 3, chapter 32, "Opcode/Instruction" of each).

use super::cursor::Cursor;
use super::modrm::ModRm;
use super::prefixes::{Mandatory, Prefixes};
use super::{DecodeError, VmxInstruction};

/// Which operands there are, with the ModRM byte that gives them.
pub(super) enum Shape {
    /// None. ModRM is part of the opcode.
    NoOperand,
    /// Memory.
    Memory(ModRm),
    /// A register, and memory.
    RegisterAndMemory(ModRm),
    /// A register, and another register or memory.
    RegisterAndEither(ModRm),
}

/// Takes the rest of the opcode, whose first byte is `first`, and ModRM.
pub(super) fn read(
    cursor: &mut Cursor<'_>,
    first: u8,
    prefixes: &Prefixes,
) -> Result<(VmxInstruction, Shape), DecodeError> {
    use VmxInstruction as I;
    if first != 0x0f {
        return Err(DecodeError::NotVmx);
    }
    let mandatory = prefixes.mandatory();
    let second = cursor.byte()?;
    Ok(match (second, mandatory) {
        (0x01, Mandatory::None) => {
            let instruction = match cursor.byte()? {
                0xc1 => I::Vmcall,
                0xc2 => I::Vmlaunch,
                0xc3 => I::Vmresume,
                0xc4 => I::Vmxoff,
                0xd4 => I::Vmfunc,
                _ => return Err(DecodeError::NotVmx),
            };
            (instruction, Shape::NoOperand)
        }
        (0x38, Mandatory::OperandSize) => {
            let instruction = match cursor.byte()? {
                0x80 => I::Invept,
                0x81 => I::Invvpid,
                _ => return Err(DecodeError::NotVmx),
            };
            (instruction, Shape::RegisterAndMemory(ModRm::read(cursor)?))
        }
        (0x78, Mandatory::None) => (I::Vmread, Shape::RegisterAndEither(ModRm::read(cursor)?)),
        (0x79, Mandatory::None) => (I::Vmwrite, Shape::RegisterAndEither(ModRm::read(cursor)?)),
        (0xc7, _) => {
            let modrm = ModRm::read(cursor)?;
            // With a register these are other instructions: RDRAND, RDSEED and more.
            if modrm.is_register() {
                return Err(DecodeError::NotVmx);
            }
            let instruction = match (modrm.reg(), mandatory) {
                (6, Mandatory::None) => I::Vmptrld,
                (6, Mandatory::OperandSize) => I::Vmclear,
                (6, Mandatory::Repeat) => I::Vmxon,
                (7, Mandatory::None) => I::Vmptrst,
                _ => return Err(DecodeError::NotVmx),
            };
            (instruction, Shape::Memory(modrm))
        }
        _ => return Err(DecodeError::NotVmx),
    })
}
