// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! INVEPT and INVVPID.

use super::super::NestedVmx;
use super::super::flush::LinearFlush;
use super::MemoryOperand;
use super::outcome::{Exception, Outcome};
use super::privilege::End;
use crate::capability::EptVpid;
use crate::controls::SecondaryControls;
use crate::ept::Invalidation;
use crate::exit_reason::ExitReason;
use crate::instruction_error::InstructionError;
use crate::registers::is_canonical;

const BAD_OPERAND: InstructionError = InstructionError::InvalidInveptInvvpidOperand;

/// The two halves of a descriptor.
fn descriptor(operand: &dyn MemoryOperand) -> Result<[u64; 2], End> {
    let mut bytes = [0; 16];
    operand.read(&mut bytes)?;
    let value = u128::from_le_bytes(bytes);
    Ok([value as u64, (value >> 64) as u64])
}

impl NestedVmx {
    fn check_supported(&self, control: SecondaryControls, capability: EptVpid) -> Result<(), End> {
        let supported = self.capabilities.secondary().may_be_1(control)
            && self.capabilities.ept_vpid.contains(capability);
        match supported {
            true => Ok(()),
            false => Err(Exception::INVALID_OPCODE.into()),
        }
    }

    /// SDM volume 3, chapter 32, "INVEPT".
    pub(super) fn invept(
        &mut self,
        kind: u64,
        operand: &dyn MemoryOperand,
    ) -> Result<Outcome, End> {
        self.check_supported(SecondaryControls::ENABLE_EPT, EptVpid::INVEPT)?;
        self.check_root(ExitReason::INVEPT)?;
        // An unsupported type fails before the descriptor is read.
        let supported = match kind {
            1 => EptVpid::INVEPT_SINGLE,
            2 => EptVpid::INVEPT_ALL,
            _ => return Err(BAD_OPERAND.into()),
        };
        if !self.capabilities.ept_vpid.contains(supported) {
            return Err(BAD_OPERAND.into());
        }
        let descriptor = descriptor(operand)?;
        let invalidation =
            Invalidation::from_invept(kind, descriptor, &self.capabilities).ok_or(BAD_OPERAND)?;
        self.flush.ept(invalidation);
        Ok(Outcome::Succeed)
    }

    /// SDM volume 3, chapter 32, "INVVPID".
    pub(super) fn invvpid(
        &mut self,
        kind: u64,
        operand: &dyn MemoryOperand,
    ) -> Result<Outcome, End> {
        self.check_supported(SecondaryControls::ENABLE_VPID, EptVpid::INVVPID)?;
        self.check_root(ExitReason::INVVPID)?;
        let supported = match kind {
            0 => EptVpid::INVVPID_ADDRESS,
            1 => EptVpid::INVVPID_SINGLE,
            2 => EptVpid::INVVPID_ALL,
            3 => EptVpid::INVVPID_SINGLE_RETAINING_GLOBALS,
            _ => return Err(BAD_OPERAND.into()),
        };
        if !self.capabilities.ept_vpid.contains(supported) {
            return Err(BAD_OPERAND.into());
        }
        let [low, address] = descriptor(operand)?;
        let vpid = low as u16;
        if low >> 16 != 0 || kind != 2 && vpid == 0 {
            return Err(BAD_OPERAND.into());
        }
        let width = self
            .capabilities
            .processor
            .linear_address_width(self.view_of_cr4());
        self.flush.linear(match kind {
            0 if !is_canonical(address, width) => return Err(BAD_OPERAND.into()),
            0 => LinearFlush::Address { vpid, address },
            2 => LinearFlush::All,
            _ => LinearFlush::Vpid(vpid),
        });
        Ok(Outcome::Succeed)
    }
}
