// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! VMREAD and VMWRITE, of L1 and, with VMCS shadowing, of L2.

use super::super::NestedVmx;
use super::super::border::Border;
use super::super::state::Operation;
use super::outcome::{Exception, Outcome};
use super::privilege::End;
use super::{Destination, Source};
use crate::exit_reason::ExitReason;
use crate::instruction_error::InstructionError;
use crate::route::may_access;
use crate::vmcs::{AccessError, Vmcs};

impl From<AccessError> for End {
    fn from(error: AccessError) -> Self {
        Self::Fail(match error {
            AccessError::Unsupported(_) => InstructionError::UnsupportedComponent,
            AccessError::ReadOnly(_) => InstructionError::ReadOnlyComponent,
        })
    }
}

/// Which VMCS an instruction accesses.
#[derive(Clone, Copy)]
enum Target {
    /// L1's current VMCS.
    Current,
    /// The VMCS that the link pointer of L1's current VMCS refers to.
    Shadow,
}

impl NestedVmx {
    /// What comes before the access: SDM volume 3, chapter 32, "VMREAD" and "VMWRITE".
    fn target(
        &self,
        field: u64,
        reason: ExitReason,
        bitmap: u64,
        border: &Border<'_>,
    ) -> Result<Target, End> {
        self.check_mode()?;
        match self.operation {
            Operation::Off => Err(Exception::INVALID_OPCODE.into()),
            Operation::Root(root) => {
                self.check_privilege()?;
                match root.current {
                    Some(_) => Ok(Target::Current),
                    None => Err(End::FailInvalid),
                }
            }
            Operation::NonRoot(_) => {
                if !may_access(&self.vmcs12, bitmap, field, border.memory) {
                    return Err(End::Exit(reason));
                }
                self.check_privilege()?;
                match self.vmcs12.vmcs_link_pointer() {
                    u64::MAX => Err(End::FailInvalid),
                    _ => Ok(Target::Shadow),
                }
            }
        }
    }

    fn vmcs_of(&mut self, target: Target) -> &mut Vmcs {
        match target {
            Target::Current => &mut self.vmcs12,
            Target::Shadow => &mut self.shadow_vmcs12,
        }
    }

    pub(super) fn vmread(
        &mut self,
        field: u64,
        to: Destination<'_>,
        border: &Border<'_>,
    ) -> Result<Outcome, End> {
        let bitmap = self.vmcs12.vmread_bitmap();
        let target = self.target(field, ExitReason::VMREAD, bitmap, border)?;
        let capabilities = self.capabilities;
        let value = self.vmcs_of(target).vmread(field, &capabilities)?;
        match to {
            Destination::Register => Ok(Outcome::Read(value)),
            Destination::Memory(operand) => {
                let bytes = value.to_le_bytes();
                // At most 8, so there always is such a prefix.
                let size = self.operand_size();
                operand.write(bytes.get(..size).unwrap_or(&bytes))?;
                Ok(Outcome::Succeed)
            }
        }
    }

    pub(super) fn vmwrite(
        &mut self,
        field: u64,
        from: Source<'_>,
        border: &Border<'_>,
    ) -> Result<Outcome, End> {
        let bitmap = self.vmcs12.vmwrite_bitmap();
        let target = self.target(field, ExitReason::VMWRITE, bitmap, border)?;
        let size = self.operand_size();
        let value = match from {
            Source::Register(value) => match size {
                8 => value,
                _ => value & 0xffff_ffff,
            },
            Source::Memory(operand) => {
                let mut bytes = [0; 8];
                if let Some(bytes) = bytes.get_mut(..size) {
                    operand.read(bytes)?;
                }
                u64::from_le_bytes(bytes)
            }
        };
        let capabilities = self.capabilities;
        self.vmcs_of(target).vmwrite(field, value, &capabilities)?;
        Ok(Outcome::Succeed)
    }
}
