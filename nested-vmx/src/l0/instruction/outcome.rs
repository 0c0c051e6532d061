// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How a VMX instruction ends (SDM volume 3, section 32.2, "Conventions").

use super::super::exit::Abort;
use crate::exit_reason::ExitReason;
use crate::instruction_error::InstructionError;
use crate::registers::rflags;

/// An exception that an instruction causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Exception {
    /// Its vector.
    pub vector: u8,
    /// The error code, for vectors that have one.
    pub error_code: Option<u32>,
    /// The linear address, for a page fault.
    pub address: u64,
}

impl Exception {
    /// #UD: invalid opcode.
    pub const INVALID_OPCODE: Self = Self::new(6, None);
    /// #GP(0): general protection.
    pub const GENERAL_PROTECTION: Self = Self::new(13, Some(0));
    /// #SS(0): stack fault.
    pub const STACK_FAULT: Self = Self::new(12, Some(0));

    const fn new(vector: u8, error_code: Option<u32>) -> Self {
        Self {
            vector,
            error_code,
            address: 0,
        }
    }

    /// #PF.
    pub const fn page_fault(error_code: u32, address: u64) -> Self {
        Self {
            vector: 14,
            error_code: Some(error_code),
            address,
        }
    }
}

/// How a VMX instruction ended. In the first four cases RIP goes behind the instruction, and
/// [`Outcome::rflags`] gives the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the flags, or an exception, are to be given to the guest"]
pub enum Outcome {
    /// VMsucceed.
    Succeed,
    /// VMsucceed of a VMREAD to a register: the value for it.
    Read(u64),
    /// VMfailInvalid.
    FailInvalid,
    /// VMfailValid: the number is in the current VMCS.
    FailValid(InstructionError),
    /// VMFUNC: it worked, and no flag changes. EPT12 is another one now.
    EptpSwitched,
    /// The instruction caused an exception; RIP stays.
    Exception(Exception),
    /// VMLAUNCH or VMRESUME: L2 is active, and its entry is pending.
    Entered,
    /// VMLAUNCH or VMRESUME: the VM entry failed late, with a VM exit. L1 runs at its host RIP.
    EntryFailed(ExitReason),
    /// The VM exit of a failed entry failed as well: L1 is shut down.
    Aborted(Abort),
    /// L2 executed it, and it causes a VM exit with this reason. The state is as before: L0 reports
    /// the exit to [`after_exit`](crate::l0::NestedVmx::after_exit).
    Exit(ExitReason),
}

impl Outcome {
    /// RFLAGS after the instruction. `None`: not the instruction's to change.
    pub const fn rflags(&self, before: u64) -> Option<u64> {
        const STATUS: u64 =
            rflags::CF | rflags::PF | rflags::AF | rflags::ZF | rflags::SF | rflags::OF;
        match self {
            Self::Succeed | Self::Read(_) => Some(before & !STATUS),
            Self::FailInvalid => Some(before & !STATUS | rflags::CF),
            Self::FailValid(_) => Some(before & !STATUS | rflags::ZF),
            Self::EptpSwitched => Some(before),
            _ => None,
        }
    }
}
