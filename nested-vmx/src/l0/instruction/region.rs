// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! VMCLEAR, VMPTRLD and VMPTRST: which VMCS is current.
//!
//! The current VMCS lives in L0, as a processor may keep it; it goes back to L1's memory when it
//! is no longer current.

use super::super::NestedVmx;
use super::super::border::Border;
use super::super::state::{Operation, Root};
use super::MemoryOperand;
use super::outcome::Outcome;
use super::privilege::End;
use crate::controls::SecondaryControls;
use crate::exit_reason::ExitReason;
use crate::instruction_error::InstructionError;
use crate::vmcs::{LaunchState, REGION_SIZE};

/// Where the launch state is in a region: KVM's layout.
const LAUNCH_STATE: u64 = 8;

/// The physical address that an m64 operand holds.
pub(super) fn pointer(operand: &dyn MemoryOperand) -> Result<u64, End> {
    let mut bytes = [0; 8];
    operand.read(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

impl NestedVmx {
    /// Whether a VMX region may be there: aligned to 4 KiB, within the physical-address width.
    pub(in crate::l0) fn is_region_address(&self, address: u64) -> bool {
        address.is_multiple_of(REGION_SIZE as u64)
            && address & self.capabilities.beyond_physical() == 0
    }

    /// Writes the current VMCS back to L1's memory. What L1 gave back as something else than
    /// memory is lost, as writes to it are.
    pub(in crate::l0) fn flush_current(&mut self, border: &Border<'_>) {
        if let Some(current) = self.operation.current() {
            let _ = border.memory.write(current, self.vmcs12.as_bytes());
        }
    }

    fn set_current(&mut self, root: Root, current: Option<u64>) {
        self.operation = Operation::Root(Root { current, ..root });
    }

    /// SDM volume 3, chapter 32, "VMCLEAR".
    pub(super) fn vmclear(
        &mut self,
        operand: &dyn MemoryOperand,
        border: &Border<'_>,
    ) -> Result<Outcome, End> {
        let root = self.check_root(ExitReason::VMCLEAR)?;
        let address = pointer(operand)?;
        if !self.is_region_address(address) {
            return Err(InstructionError::VmclearInvalidAddress.into());
        }
        if address == root.vmxon {
            return Err(InstructionError::VmclearVmxonPointer.into());
        }
        if root.current == Some(address) {
            self.vmcs12.set_launch_state(LaunchState::Clear);
            self.flush_current(border);
            self.set_current(root, None);
        } else {
            let _ = border.memory.write(address + LAUNCH_STATE, &[0; 4]);
        }
        Ok(Outcome::Succeed)
    }

    /// SDM volume 3, chapter 32, "VMPTRLD".
    pub(super) fn vmptrld(
        &mut self,
        operand: &dyn MemoryOperand,
        border: &Border<'_>,
    ) -> Result<Outcome, End> {
        let root = self.check_root(ExitReason::VMPTRLD)?;
        let address = pointer(operand)?;
        if !self.is_region_address(address) {
            return Err(InstructionError::VmptrldInvalidAddress.into());
        }
        if address == root.vmxon {
            return Err(InstructionError::VmptrldVmxonPointer.into());
        }
        if root.current == Some(address) {
            return Ok(Outcome::Succeed);
        }
        let wrong = End::from(InstructionError::VmptrldRevision);
        let header = border.memory.read_u32(address).map_err(|_| wrong)?;
        let revision = header & 0x7fff_ffff;
        let is_shadow = header >> 31 != 0;
        let shadowing = self
            .capabilities
            .secondary()
            .may_be_1(SecondaryControls::VMCS_SHADOWING);
        if revision != self.capabilities.basic.revision() || is_shadow && !shadowing {
            return Err(wrong);
        }
        self.flush_current(border);
        // Between the two reads other vCPUs may write: what is used is what the second one got.
        border
            .memory
            .read(address, self.vmcs12.as_bytes_mut())
            .map_err(|_| {
                // The former current VMCS is in memory, and none is current.
                self.set_current(root, None);
                wrong
            })?;
        self.set_current(root, Some(address));
        Ok(Outcome::Succeed)
    }

    /// SDM volume 3, chapter 32, "VMPTRST".
    pub(super) fn vmptrst(&mut self, operand: &dyn MemoryOperand) -> Result<Outcome, End> {
        let root = self.check_root(ExitReason::VMPTRST)?;
        operand.write(&root.current.unwrap_or(u64::MAX).to_le_bytes())?;
        Ok(Outcome::Succeed)
    }
}
