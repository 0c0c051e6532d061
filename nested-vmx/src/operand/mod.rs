// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Operands of VMX instructions: from the VM-exit instruction information, or from the bytes of the
//! instruction; and the linear address of a memory operand.
//!
//! After a VM exit, [`InstructionInfo::memory_operand`] and the exit qualification give the operand.
//! Where no hardware decoded the instruction, [`decode`] does, and gives the instruction
//! information and the qualification that hardware would. Either way
//! [`MemoryOperand::linear_address`] is next, and then the guest's paging.

mod address;
mod decode;
mod information;
mod memory_operand;
mod registers;

pub use address::OperandFault;
pub use decode::{DecodeError, Decoded, Mode, Operands, RegisterOrMemory, VmxInstruction, decode};
pub use information::{InstructionInfo, OperandSize};
pub use memory_operand::{AddressSize, Gpr, MemoryOperand, Scale, Segment};
pub use registers::{Registers, SegmentRegister};
