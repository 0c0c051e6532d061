// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What comes first with each VMX instruction: #UD, a VM exit, #GP.

use super::super::NestedVmx;
use super::super::state::{Operation, Root};
use super::outcome::{Exception, Outcome};
use crate::exit_reason::ExitReason;
use crate::instruction_error::InstructionError;
use crate::registers::{cr0, efer, rflags};
use crate::vmcs::Vmcs;

/// Why an instruction does not do what it is for.
#[derive(Clone, Copy, Debug)]
pub(in crate::l0) enum End {
    /// An exception.
    Exception(Exception),
    /// A VM exit of L2's.
    Exit(ExitReason),
    /// VMfailInvalid.
    FailInvalid,
    /// VMfail with this error: VMfailValid if there is a current VMCS, else VMfailInvalid.
    Fail(InstructionError),
}

impl From<Exception> for End {
    fn from(exception: Exception) -> Self {
        Self::Exception(exception)
    }
}

impl From<InstructionError> for End {
    fn from(error: InstructionError) -> Self {
        Self::Fail(error)
    }
}

impl End {
    /// Ends the instruction so: a VMfailValid is written to the current VMCS.
    pub(super) fn outcome(self, vmx: &mut NestedVmx) -> Outcome {
        match self {
            Self::Exception(exception) => Outcome::Exception(exception),
            Self::Exit(reason) => Outcome::Exit(reason),
            Self::FailInvalid => Outcome::FailInvalid,
            Self::Fail(error) => vmx.fail(error),
        }
    }
}

/// The privilege level at which a guest runs: SS.DPL (SDM volume 3, section 26.4.1).
const fn privilege_level(vmcs: &Vmcs) -> u32 {
    vmcs.guest_ss_ar_bytes() >> 5 & 3
}

/// Whether the guest is in 64-bit mode.
const fn is_64_bit_code(vmcs: &Vmcs) -> bool {
    const L: u32 = 1 << 13;
    vmcs.guest_ia32_efer() & efer::LMA != 0 && vmcs.guest_cs_ar_bytes() & L != 0
}

impl NestedVmx {
    /// VMfail: VMfailValid with the error in the current VMCS, or VMfailInvalid if there is none.
    pub(in crate::l0) fn fail(&mut self, error: InstructionError) -> Outcome {
        match self.operation.current() {
            None => Outcome::FailInvalid,
            Some(_) => {
                self.vmcs12.write(
                    crate::vmcs::Field::VmInstructionError,
                    error.number().into(),
                );
                Outcome::FailValid(error)
            }
        }
    }

    /// The VMCS whose guest-state area is the running guest's.
    pub(in crate::l0) fn running(&self) -> &Vmcs {
        match self.operation {
            Operation::NonRoot(_) => &self.vmcs02,
            _ => &self.vmcs01,
        }
    }

    /// Whether the guest that runs is in 64-bit mode.
    pub(in crate::l0) fn is_64_bit(&self) -> bool {
        is_64_bit_code(self.running())
    }

    /// How many bytes an operand of VMREAD and VMWRITE has.
    pub(super) fn operand_size(&self) -> usize {
        match self.is_64_bit() {
            true => 8,
            false => 4,
        }
    }

    /// The mode in which no VMX instruction exists: real mode, virtual-8086 mode, compatibility
    /// mode.
    pub(super) fn check_mode(&self) -> Result<(), End> {
        let vmcs = self.running();
        let compatibility = vmcs.guest_ia32_efer() & efer::LMA != 0 && !is_64_bit_code(vmcs);
        let virtual_8086 = vmcs.guest_rflags() & rflags::VM != 0;
        let real = self.view_of_cr0() & cr0::PE == 0;
        match compatibility || virtual_8086 || real {
            true => Err(Exception::INVALID_OPCODE.into()),
            false => Ok(()),
        }
    }

    /// CPL must be 0.
    pub(super) fn check_privilege(&self) -> Result<(), End> {
        match privilege_level(self.running()) {
            0 => Ok(()),
            _ => Err(Exception::GENERAL_PROTECTION.into()),
        }
    }

    /// What is common to the instructions that only VMX root operation has: #UD outside VMX
    /// operation, a VM exit with this reason in L2, #GP above privilege level 0.
    pub(in crate::l0) fn check_root(&self, reason: ExitReason) -> Result<Root, End> {
        let root = match self.operation {
            Operation::Off => return Err(Exception::INVALID_OPCODE.into()),
            Operation::NonRoot(_) => {
                self.check_mode()?;
                return Err(End::Exit(reason));
            }
            Operation::Root(root) => root,
        };
        self.check_mode()?;
        self.check_privilege()?;
        Ok(root)
    }
}
