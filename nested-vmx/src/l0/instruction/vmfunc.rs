// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! VMFUNC (SDM volume 3, sections 27.5.6 and 32.3).

use super::super::NestedVmx;
use super::super::border::Border;
use super::super::flush::LinearFlush;
use super::outcome::{Exception, Outcome};
use super::privilege::End;
use crate::controls::SecondaryControls;
use crate::ept::Eptp;
use crate::exit_reason::ExitReason;
use crate::vmcs::Field;

impl NestedVmx {
    pub(super) fn vmfunc(
        &mut self,
        function: u32,
        operand: u32,
        border: &Border<'_>,
    ) -> Result<Outcome, End> {
        let enabled = self.operation.is_non_root()
            && self
                .vmcs12
                .secondary()
                .contains(SecondaryControls::ENABLE_VM_FUNCTIONS);
        if !enabled || function >= 64 {
            return Err(Exception::INVALID_OPCODE.into());
        }
        let exit = End::Exit(ExitReason::VMFUNC);
        if self.vmcs12.vm_function_control() >> function & 1 == 0 || function != 0 {
            return Err(exit);
        }
        let list = self.vmcs12.eptp_list_address();
        let Eptp(eptp) = Eptp::from_list(border.memory, list, operand)
            .ok()
            .flatten()
            .filter(|eptp| eptp.check(&self.capabilities).is_ok())
            .ok_or(exit)?;
        self.vmcs12.write(Field::EptPointer, eptp);
        if self
            .vmcs12
            .secondary()
            .contains(SecondaryControls::EPT_VIOLATION_VE)
        {
            self.vmcs12.write(Field::EptpIndex, operand.into());
        }
        self.flush.linear(LinearFlush::All);
        Ok(Outcome::EptpSwitched)
    }
}
