// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! VMX instructions from their bytes (SDM volume 2, chapter 2; volume 3, chapter 32).

mod cursor;
mod decoded;
mod modrm;
mod opcode;
mod prefixes;

pub use decoded::{Decoded, Operands, RegisterOrMemory, VmxInstruction};

use cursor::Cursor;
use opcode::Shape;
use prefixes::Prefixes;
use thiserror::Error;

use super::memory_operand::Gpr;

/// The size of code that the code segment gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// 16-bit code: CS.D is 0, outside 64-bit mode.
    Bits16,
    /// 32-bit code: CS.D is 1, outside 64-bit mode.
    Bits32,
    /// 64-bit mode.
    Bits64,
}

/// Why bytes are not a VMX instruction.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum DecodeError {
    /// The instruction goes on after the bytes that are there.
    #[error("more bytes are needed")]
    Truncated,
    /// It is longer than 15 bytes: #GP(0), whatever it is (SDM volume 2, section 2.3.11).
    #[error("an instruction of more than 15 bytes")]
    TooLong,
    /// It is a VMX instruction's opcode with a LOCK prefix, or with a register where memory has to
    /// be: #UD.
    #[error("an invalid form of a VMX instruction")]
    InvalidOpcode,
    /// It is something else, an instruction or none.
    #[error("not a VMX instruction")]
    NotVmx,
}

/// Decodes the VMX instruction that `bytes` begin with. Bytes after it do not matter; `rip` is its
/// own address, on which only RIP-relative operands depend.
///
/// Whether the instruction may execute is not looked at.
///
/// # Errors
///
/// [`DecodeError`]
pub fn decode(bytes: &[u8], mode: Mode, rip: u64) -> Result<Decoded, DecodeError> {
    let mut cursor = Cursor::new(bytes);
    let (prefixes, first) = Prefixes::read(&mut cursor, mode)?;
    let (instruction, shape) = opcode::read(&mut cursor, first, &prefixes)?;
    let operands = match shape {
        Shape::NoOperand => Operands::None,
        Shape::Memory(modrm) => match modrm.operand(&mut cursor, &prefixes, mode, rip)? {
            RegisterOrMemory::Memory(memory) => Operands::Memory(memory),
            RegisterOrMemory::Register(_) => return Err(DecodeError::InvalidOpcode),
        },
        Shape::RegisterAndMemory(modrm) => {
            match modrm.operand(&mut cursor, &prefixes, mode, rip)? {
                RegisterOrMemory::Memory(descriptor) => Operands::Invalidation {
                    kind: modrm.register(&prefixes),
                    descriptor,
                },
                RegisterOrMemory::Register(_) => return Err(DecodeError::InvalidOpcode),
            }
        }
        Shape::RegisterAndEither(modrm) => Operands::Field {
            encoding: modrm.register(&prefixes),
            value: modrm.operand(&mut cursor, &prefixes, mode, rip)?,
        },
    };
    // None of them can be locked.
    match prefixes.lock {
        true => Err(DecodeError::InvalidOpcode),
        false => Ok(Decoded {
            instruction,
            operands,
            length: cursor.position(),
        }),
    }
}
