// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! VMCALL.

use super::super::NestedVmx;
use super::super::state::Operation;
use super::outcome::{Exception, Outcome};
use super::privilege::End;
use crate::exit_reason::ExitReason;
use crate::instruction_error::InstructionError;

impl NestedVmx {
    /// SDM volume 3, chapter 32, "VMCALL": outside SMM and without an SMM monitor. An L0 that gives
    /// L1 hypercalls handles L1's VMCALL itself and does not call this.
    pub(super) fn vmcall(&self) -> Result<Outcome, End> {
        match self.operation {
            Operation::Off => Err(Exception::INVALID_OPCODE.into()),
            Operation::NonRoot(_) => Err(End::Exit(ExitReason::VMCALL)),
            Operation::Root(_) => {
                self.check_mode()?;
                self.check_privilege()?;
                Err(InstructionError::VmcallInVmxRoot.into())
            }
        }
    }
}
