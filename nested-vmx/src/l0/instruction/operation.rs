// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! VMXON and VMXOFF.

use super::super::NestedVmx;
use super::super::border::Border;
use super::super::state::{Operation, Root};
use super::MemoryOperand;
use super::outcome::{Exception, Outcome};
use super::privilege::End;
use super::region::pointer;
use crate::exit_reason::ExitReason;
use crate::instruction_error::InstructionError;
use crate::registers::cr4;

/// Whether a control register has the bits that VMX operation needs (SDM volume 3, section 25.8).
const fn is_fixed(value: u64, fixed0: u64, fixed1: u64) -> bool {
    value & fixed0 == fixed0 && value & !fixed1 == 0
}

impl NestedVmx {
    /// SDM volume 3, chapter 32, "VMXON".
    pub(super) fn vmxon(
        &mut self,
        operand: &dyn MemoryOperand,
        border: &Border<'_>,
    ) -> Result<Outcome, End> {
        self.check_mode()?;
        // In SMM, CR4.VMXE is 0 and cannot be set (SDM volume 3, section 33.14.1).
        if self.view_of_cr4() & cr4::VMXE == 0 || self.is_in_smm() {
            return Err(Exception::INVALID_OPCODE.into());
        }
        if self.operation.is_non_root() {
            return Err(End::Exit(ExitReason::VMXON));
        }
        self.check_privilege()?;
        if self.operation != Operation::Off {
            return Err(InstructionError::VmxonInVmxRoot.into());
        }
        let capabilities = &self.capabilities;
        let cr0 = is_fixed(
            self.view_of_cr0(),
            capabilities.cr0_fixed0,
            capabilities.cr0_fixed1,
        );
        let cr4 = is_fixed(
            self.view_of_cr4(),
            capabilities.cr4_fixed0,
            capabilities.cr4_fixed1,
        );
        if !(cr0 && cr4 && capabilities.feature_control.allows_vmxon()) {
            return Err(Exception::GENERAL_PROTECTION.into());
        }
        let vmxon = pointer(operand)?;
        if !self.is_region_address(vmxon) {
            return Err(End::FailInvalid);
        }
        // All 32 bits: bit 31 must be 0. Where there is no memory, no revision is found either.
        if border.memory.read_u32(vmxon) != Ok(self.capabilities.basic.revision()) {
            return Err(End::FailInvalid);
        }
        self.operation = Operation::Root(Root {
            vmxon,
            current: None,
        });
        Ok(Outcome::Succeed)
    }

    /// SDM volume 3, chapter 32, "VMXOFF". There is no dual-monitor treatment here, so it never
    /// fails with error 23.
    pub(super) fn vmxoff(&mut self, border: &Border<'_>) -> Result<Outcome, End> {
        self.check_root(ExitReason::VMXOFF)?;
        self.flush_current(border);
        self.operation = Operation::Off;
        Ok(Outcome::Succeed)
    }
}
