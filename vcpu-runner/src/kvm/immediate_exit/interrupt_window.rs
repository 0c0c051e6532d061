// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! KVM's interrupt window.

use super::mechanism::{Apply, End, Owner, Refusal, Tools, Unmet};
use super::situation::Situation;

/// Who emulates the VM's PIC. The window exists only where it is not KVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pic {
    /// KVM_CREATE_IRQCHIP was called.
    InKernel,
    /// The VMM, or nobody: no in-kernel interrupt controller, or a split one.
    InUserspace,
}

#[derive(Debug)]
pub(super) struct InterruptWindow(pub(super) Pic);

impl Apply for InterruptWindow {
    fn prepare(&mut self, situation: &Situation, _tools: &Tools<'_>) -> Result<(), Refusal> {
        if self.0 == Pic::InKernel {
            return Err(Unmet::PicInKernel.into());
        }
        if !situation.deliverable().is_empty() {
            return Err(Unmet::Event.into());
        }
        match situation.interrupts_on() {
            true => Ok(()),
            false => Err(Unmet::InterruptsOff.into()),
        }
    }

    fn arm(&mut self, tools: &mut Tools<'_>) -> Result<(), kvm_ioctls::Error> {
        tools.area.request_interrupt_window(true);
        tools.timer.start_backstop(tools.fd, tools.backstop)
    }

    fn disarm(&mut self, tools: &mut Tools<'_>) -> Result<(), kvm_ioctls::Error> {
        tools.area.request_interrupt_window(tools.wants_window);
        tools.timer.stop(tools.fd)
    }

    fn owner(&self, tools: &Tools<'_>) -> Owner {
        match tools.wants_window {
            true => Owner::User,
            false => Owner::Mechanism,
        }
    }

    fn settle(
        &mut self,
        _before: &Situation,
        _after: &Situation,
        _end: End,
        _tools: &Tools<'_>,
    ) -> Option<u64> {
        None
    }

    fn learn(&mut self, _entered: bool) {}
}
