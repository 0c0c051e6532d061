// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! System-management mode, with the default treatment of SMIs (SDM volume 3, section 33.14).

use super::NestedVmx;
use super::border::Border;
use super::event::PendingEvents;
use super::run::Asked;
use super::state::{NonRoot, Operation, Run};

/// Whether the virtual processor is in SMM, and what it was in before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SmmState {
    /// It is not.
    Outside,
    /// It is: the processor left VMX operation for the time, and RSM brings it back.
    Inside(Operation),
}

impl NestedVmx {
    /// Whether the virtual processor is in SMM.
    pub const fn is_in_smm(&self) -> bool {
        matches!(self.smm, SmmState::Inside(_))
    }

    /// What SMM interrupted.
    pub const fn smm(&self) -> SmmState {
        self.smm
    }

    /// The virtual processor enters SMM, as [`Decision::Smm`](super::Decision::Smm) asked, or while
    /// L1 runs. VMX operation is left, and SMM runs with L1's controls; L0 has saved the registers of
    /// the guest that runs, and loads those of SMM afterwards. In SMM it does nothing.
    pub fn enter_smm(&mut self, border: &mut Border<'_>) {
        if self.is_in_smm() {
            return;
        }
        if self.operation.is_non_root() {
            border.hardware.store(&mut self.vmcs02);
            self.keep_debug_trap();
            self.save_l2(border);
            self.flush_shadow(border);
            border.hardware.load(&self.vmcs01);
        }
        self.smm = SmmState::Inside(self.operation);
        self.operation = Operation::Off;
    }

    /// RSM: the virtual processor goes back to what it was in. L2 is entered again, which counts as
    /// an entry that must happen; L0 restores the registers of the guest afterwards. Outside SMM it
    /// does nothing.
    pub fn leave_smm(&mut self, border: &mut Border<'_>) {
        let SmmState::Inside(before) = self.smm else {
            return;
        };
        self.smm = SmmState::Outside;
        self.operation = match before {
            Operation::NonRoot(l2) => Operation::NonRoot(NonRoot {
                run: Run::Pending,
                ..l2
            }),
            other => other,
        };
        if self.operation.is_non_root() {
            self.activity = self.vmcs12.guest_activity_state();
            self.build_vmcs02(border);
            self.load_l2(border);
        }
    }

    /// The virtual processor is reset: it leaves VMX operation without a VM exit, and nothing
    /// waits any more, a pending entry included. The current VMCS is lost, as in a processor.
    pub fn reset(&mut self, border: &mut Border<'_>) {
        self.operation = Operation::Off;
        self.smm = SmmState::Outside;
        self.forget_l2();
        self.pending = PendingEvents::default();
        self.asked = Asked::No;
        border.hardware.load(&self.vmcs01);
    }
}
