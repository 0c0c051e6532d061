// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! From L2 to L1: VM exits, and VM entries that fail.

use super::NestedVmx;
use super::border::Border;
use super::event::{Class, PendingException};
use super::exit::{Abort, ExitInformation, MsrArea, load_host_state, save_guest_state};
use super::flush::LinearFlush;
use super::instruction::Outcome;
use super::state::{NonRoot, Operation, Root};
use super::vmcs02;
use crate::check::EntryInstruction;
use crate::controls::{ExitControls, PinControls, SecondaryControls};
use crate::exit_reason::ExitReason;
use crate::instruction_error::InstructionError;
use crate::interruption::EventType;
use crate::registers::{efer, interruptibility, pending_debug};
use crate::vmcs::{Field, LaunchState};

/// Bit 31 of the VM-entry interruption information.
const VALID: u64 = 1 << 31;
/// Where the VMX-abort indicator is in a VMCS region (SDM volume 3, table 26-1).
const ABORT_INDICATOR: u64 = 4;

impl NestedVmx {
    /// L2 exits to L1. The pending entry has happened.
    pub(super) fn exit_to_l1(
        &mut self,
        from: NonRoot,
        information: &ExitInformation,
        border: &mut Border<'_>,
    ) -> Result<(), Abort> {
        border.hardware.store(&mut self.vmcs02);
        self.keep_debug_trap();
        self.save_l2(border);
        let vectoring = self.injection.take();
        if vectoring.is_some_and(|event| event.kind == EventType::Nmi) {
            // The delivery had begun: it blocks NMIs, and L1 ends that before it injects the NMI
            // again, as a processor was seen to have it.
            let blocking = self.vmcs12.guest_interruptibility_info() | interruptibility::NMI;
            self.vmcs12
                .write(Field::GuestInterruptibilityInfo, blocking.into());
        }
        information.write(vectoring, &mut self.vmcs12);
        let requested = u64::from(self.vmcs12.vm_entry_intr_info_field());
        self.vmcs12
            .write(Field::VmEntryIntrInfoField, requested & !VALID);
        self.flush_shadow(border);

        let stored = MsrArea::new(
            self.vmcs12.vm_exit_msr_store_addr(),
            self.vmcs12.vm_exit_msr_store_count(),
        )
        .store(&self.capabilities, border.memory, border.msrs, &self.vmcs02)
        .map_err(|_| Abort::SavingMsrs);
        let root = Root {
            vmxon: from.vmxon,
            current: Some(from.current),
        };
        vmcs02::hand_over(&self.vmcs02, &mut self.vmcs01);
        let is_nmi = information.reason.basic() == ExitReason::EXCEPTION_OR_NMI
            && information
                .event
                .is_some_and(|event| event.kind == EventType::Nmi);
        // Only an NMI's own exit changes it. With virtual NMIs, what L2 has is not about NMIs (SDM
        // volume 3, section 29.5.5).
        let were_blocked = !self.has_virtual_nmis()
            && self.vmcs02.guest_interruptibility_info() & interruptibility::NMI != 0;
        let result = stored
            .and_then(|()| self.check_mode_of_l1())
            .and_then(|()| self.load_l1(root, is_nmi || were_blocked, border));
        result.map_err(|abort| self.abort(root, abort, border))
    }

    /// An L2 that turned IA-32e mode on cannot exit to an L1 of 32 bits (SDM volume 3, section
    /// 29.7).
    fn check_mode_of_l1(&self) -> Result<(), Abort> {
        let is_64_bit = self
            .vmcs12
            .exit()
            .contains(ExitControls::HOST_ADDRESS_SPACE_SIZE);
        match self.vmcs02.guest_ia32_efer() & efer::LMA != 0 && !is_64_bit {
            true => Err(Abort::HostAddressSpace),
            false => Ok(()),
        }
    }

    /// Saves L2 in vmcs12 as it is now.
    pub(super) fn save_l2(&mut self, border: &Border<'_>) {
        save_guest_state(
            &self.capabilities,
            &self.vmcs01,
            &self.vmcs02,
            self.activity,
            &mut self.vmcs12,
        );
        let saves_timer = self
            .vmcs12
            .exit()
            .contains(ExitControls::SAVE_PREEMPTION_TIMER);
        if let Some(left) = self.timer_left(border)
            && saves_timer
        {
            self.vmcs12.write(Field::VmxPreemptionTimerValue, left);
        }
    }

    /// A debug trap that was not delivered becomes a pending debug exception of L2's (SDM volume
    /// 3, section 29.3.4). A fault comes again with its instruction.
    pub(super) fn keep_debug_trap(&mut self) {
        const BREAKPOINTS: u64 = 0xf;
        if let Some(PendingException {
            class: Class::DebugTrap,
            qualification,
            ..
        }) = self.pending.exception.take()
        {
            let enabled = match qualification & BREAKPOINTS {
                0 => 0,
                _ => pending_debug::ENABLED_BREAKPOINT,
            };
            let bits = qualification & (BREAKPOINTS | pending_debug::BS) | enabled;
            let before = self.vmcs02.guest_pending_dbg_exceptions();
            self.vmcs02
                .write(Field::GuestPendingDbgExceptions, before | bits);
        }
    }

    /// What is left of L1's preemption timer, in its units.
    pub(super) fn timer_left(&self, border: &Border<'_>) -> Option<u64> {
        let left = self.timer_deadline?.saturating_sub(self.timer_now(border));
        // The field has 32 bits. A deadline that a restored state set far away counts as the
        // longest timer.
        Some(left.min(u32::MAX.into()))
    }

    /// The VMCS that L2 wrote goes back to L1's memory.
    pub(super) fn flush_shadow(&self, border: &Border<'_>) {
        if self.has_shadow() {
            let address = self.vmcs12.vmcs_link_pointer();
            let _ = border.memory.write(address, self.shadow_vmcs12.as_bytes());
        }
    }

    /// L1 goes on with the host state of vmcs12, and NMIs are blocked or not.
    fn load_l1(
        &mut self,
        root: Root,
        nmis_blocked: bool,
        border: &mut Border<'_>,
    ) -> Result<(), Abort> {
        self.operation = Operation::Root(root);
        self.forget_l2();
        load_host_state(
            &self.capabilities,
            &self.vmcs12,
            border.memory,
            &mut self.vmcs01,
        )?;
        let blocking = match nmis_blocked {
            true => interruptibility::NMI,
            false => 0,
        };
        self.vmcs01
            .write(Field::GuestInterruptibilityInfo, blocking.into());
        let loaded = MsrArea::new(
            self.vmcs12.vm_exit_msr_load_addr(),
            self.vmcs12.vm_exit_msr_load_count(),
        )
        .load(
            &self.capabilities,
            border.memory,
            border.msrs,
            &mut self.vmcs01,
        );
        border.hardware.load(&self.vmcs01);
        loaded.map_err(|_| Abort::LoadingMsrs)
    }

    /// What was about the L2 that was left.
    pub(super) fn forget_l2(&mut self) {
        self.injection = None;
        self.timer_deadline = None;
        self.pending.monitor_trap = false;
        self.pending.exception = None;
        self.pending.triple_fault = false;
        self.activity = crate::registers::activity::ACTIVE;
        if !self
            .vmcs12
            .secondary()
            .contains(SecondaryControls::ENABLE_VPID)
        {
            self.flush.linear(LinearFlush::All);
        }
    }

    /// A VMX abort: the indicator goes to the VMCS region.
    fn abort(&mut self, root: Root, abort: Abort, border: &Border<'_>) -> Abort {
        self.operation = Operation::Root(root);
        self.forget_l2();
        self.vmcs12.set_abort(abort.indicator());
        if let Some(address) = root.current.and_then(|at| at.checked_add(ABORT_INDICATOR)) {
            let _ = border
                .memory
                .write(address, &abort.indicator().to_le_bytes());
        }
        abort
    }

    /// The VM entry fails during or after loading guest state: a VM exit that saves nothing of L2
    /// (SDM volume 3, section 28.8). The event that was to be injected stays in vmcs12.
    pub(super) fn fail_entry(
        &mut self,
        root: Root,
        reason: ExitReason,
        qualification: u64,
        border: &mut Border<'_>,
    ) -> Outcome {
        self.vmcs12.write(Field::VmExitReason, reason.0.into());
        self.vmcs12.write(Field::ExitQualification, qualification);
        if reason.basic() == ExitReason::ENTRY_FAILURE_MSR_LOADING {
            // The guest state had been loaded.
            vmcs02::hand_over(&self.vmcs02, &mut self.vmcs01);
        }
        let blocked = self.vmcs01.guest_interruptibility_info() & interruptibility::NMI != 0;
        match self.load_l1(root, blocked, border) {
            Ok(()) => Outcome::EntryFailed(reason),
            Err(abort) => Outcome::Aborted(self.abort(root, abort, border)),
        }
    }

    /// The hardware refused vmcs02's controls or host state: the VMLAUNCH or VMRESUME that is
    /// pending fails as if it had been checked here, and nothing but the VM-instruction error
    /// changes.
    pub(super) fn unwind_entry(
        &mut self,
        from: NonRoot,
        error: InstructionError,
        border: &mut Border<'_>,
    ) {
        self.operation = Operation::Root(Root {
            vmxon: from.vmxon,
            current: Some(from.current),
        });
        self.forget_l2();
        self.undo_launch();
        self.vmcs12
            .write(Field::VmInstructionError, error.number().into());
        border.hardware.load(&self.vmcs01);
    }

    /// The entry that was pending fails: a VMLAUNCH leaves the launch state as it was.
    pub(super) fn undo_launch(&mut self) {
        if self.entered_by == EntryInstruction::Vmlaunch {
            self.vmcs12.set_launch_state(LaunchState::Clear);
        }
    }

    /// Whether virtual NMIs are on.
    pub(super) fn has_virtual_nmis(&self) -> bool {
        self.vmcs12.pin().contains(PinControls::VIRTUAL_NMIS)
    }
}
