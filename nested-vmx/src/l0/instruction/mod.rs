// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The VMX instructions (SDM volume 3, chapter 32). Each one is in the file of its kind, with its
//! conditions in the SDM's order.

mod decoded;
mod field_access;
mod invalidate;
mod operation;
mod outcome;
mod privilege;
mod region;
mod vmcall;
mod vmfunc;

pub use decoded::{LinearMemory, LinearOperand};
pub use outcome::{Exception, Outcome};

pub(super) use privilege::End;

use super::NestedVmx;
use super::border::Border;
use crate::check::EntryInstruction;

/// A memory operand. It is accessed only when the instruction gets so far, so that faults come in
/// the SDM's order.
pub trait MemoryOperand {
    /// Reads the operand's bytes.
    ///
    /// # Errors
    ///
    /// The exception that the access causes.
    fn read(&self, into: &mut [u8]) -> Result<(), Exception>;

    /// Writes the operand's bytes.
    ///
    /// # Errors
    ///
    /// The exception that the access causes.
    fn write(&self, from: &[u8]) -> Result<(), Exception>;
}

/// A VMX instruction with its operands.
#[derive(Clone, Copy)]
pub enum Instruction<'a> {
    /// VMXON m64.
    Vmxon(&'a dyn MemoryOperand),
    /// VMXOFF.
    Vmxoff,
    /// VMCLEAR m64.
    Vmclear(&'a dyn MemoryOperand),
    /// VMPTRLD m64.
    Vmptrld(&'a dyn MemoryOperand),
    /// VMPTRST m64.
    Vmptrst(&'a dyn MemoryOperand),
    /// VMREAD.
    Vmread {
        /// The operand that names the field: 64 bits in 64-bit mode, 32 otherwise.
        field: u64,
        /// Where the value goes.
        to: Destination<'a>,
    },
    /// VMWRITE.
    Vmwrite {
        /// The operand that names the field: 64 bits in 64-bit mode, 32 otherwise.
        field: u64,
        /// Where the value comes from.
        from: Source<'a>,
    },
    /// VMLAUNCH.
    Vmlaunch,
    /// VMRESUME.
    Vmresume,
    /// INVEPT.
    Invept {
        /// The register operand: the type.
        kind: u64,
        /// The descriptor of 16 bytes.
        descriptor: &'a dyn MemoryOperand,
    },
    /// INVVPID.
    Invvpid {
        /// The register operand: the type.
        kind: u64,
        /// The descriptor of 16 bytes.
        descriptor: &'a dyn MemoryOperand,
    },
    /// VMCALL.
    Vmcall,
    /// VMFUNC.
    Vmfunc {
        /// EAX: the function.
        function: u32,
        /// ECX: its operand.
        operand: u32,
    },
}

/// Where VMREAD writes.
#[derive(Clone, Copy)]
pub enum Destination<'a> {
    /// A register: the value comes with [`Outcome::Read`].
    Register,
    /// Memory: 8 bytes in 64-bit mode, 4 otherwise.
    Memory(&'a dyn MemoryOperand),
}

/// Where VMWRITE reads.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// A register with this value.
    Register(u64),
    /// Memory: 8 bytes in 64-bit mode, 4 otherwise.
    Memory(&'a dyn MemoryOperand),
}

impl NestedVmx {
    /// Executes a VMX instruction of the guest that runs: L1's, or L2's.
    ///
    /// The guest's registers are asked of the hardware. RIP and RFLAGS are not written: see
    /// [`Outcome`].
    pub fn execute(&mut self, instruction: Instruction<'_>, border: &mut Border<'_>) -> Outcome {
        self.fetch_guest_state(border);
        let result = match instruction {
            Instruction::Vmxon(operand) => self.vmxon(operand, border),
            Instruction::Vmxoff => self.vmxoff(border),
            Instruction::Vmclear(operand) => self.vmclear(operand, border),
            Instruction::Vmptrld(operand) => self.vmptrld(operand, border),
            Instruction::Vmptrst(operand) => self.vmptrst(operand),
            Instruction::Vmread { field, to } => self.vmread(field, to, border),
            Instruction::Vmwrite { field, from } => self.vmwrite(field, from, border),
            Instruction::Vmlaunch => self.enter(EntryInstruction::Vmlaunch, border),
            Instruction::Vmresume => self.enter(EntryInstruction::Vmresume, border),
            Instruction::Invept { kind, descriptor } => self.invept(kind, descriptor),
            Instruction::Invvpid { kind, descriptor } => self.invvpid(kind, descriptor),
            Instruction::Vmcall => self.vmcall(),
            Instruction::Vmfunc { function, operand } => self.vmfunc(function, operand, border),
        };
        result.unwrap_or_else(|end| end.outcome(self))
    }
}

impl core::fmt::Debug for Instruction<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Vmxon(_) => f.write_str("VMXON"),
            Self::Vmxoff => f.write_str("VMXOFF"),
            Self::Vmclear(_) => f.write_str("VMCLEAR"),
            Self::Vmptrld(_) => f.write_str("VMPTRLD"),
            Self::Vmptrst(_) => f.write_str("VMPTRST"),
            Self::Vmread { field, .. } => write!(f, "VMREAD {field:#x}"),
            Self::Vmwrite { field, .. } => write!(f, "VMWRITE {field:#x}"),
            Self::Vmlaunch => f.write_str("VMLAUNCH"),
            Self::Vmresume => f.write_str("VMRESUME"),
            Self::Invept { kind, .. } => write!(f, "INVEPT {kind}"),
            Self::Invvpid { kind, .. } => write!(f, "INVVPID {kind}"),
            Self::Vmcall => f.write_str("VMCALL"),
            Self::Vmfunc { function, operand } => write!(f, "VMFUNC {function}, {operand}"),
        }
    }
}
