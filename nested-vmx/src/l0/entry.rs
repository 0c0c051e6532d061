// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! VMLAUNCH and VMRESUME (SDM volume 3, chapter 28).

use super::NestedVmx;
use super::border::Border;
use super::event::PendingEvents;
use super::exit::{BadEntry, MsrArea};
use super::flush::LinearFlush;
use super::instruction::{End, Outcome};
use super::state::{NonRoot, Operation, Root, Run};
use super::{pdptes, vmcs02};
use crate::check::{EntryInstruction, EntryOutcome, EntryRequest, L1State};
use crate::controls::{PinControls, SecondaryControls};
use crate::exit_reason::ExitReason;
use crate::interruption::{Event, EventType};
use crate::registers::{activity, cr0, cr4, efer, interruptibility};
use crate::vmcs::{LaunchState, Vmcs};

impl NestedVmx {
    pub(super) fn enter(
        &mut self,
        instruction: EntryInstruction,
        border: &mut Border<'_>,
    ) -> Result<Outcome, End> {
        let root = self.check_root(match instruction {
            EntryInstruction::Vmlaunch => ExitReason::VMLAUNCH,
            EntryInstruction::Vmresume => ExitReason::VMRESUME,
        })?;
        if let Some(failure) = self.check_entry(instruction, root, border) {
            match failure {
                EntryOutcome::VmFailInvalid => return Err(End::FailInvalid),
                EntryOutcome::VmFailValid(error) => return Err(End::Fail(error)),
                // Those entries of the list that come before the bad one are loaded first.
                EntryOutcome::EntryFailure { reason, .. }
                    if reason.basic() == ExitReason::ENTRY_FAILURE_MSR_LOADING => {}
                EntryOutcome::EntryFailure {
                    reason,
                    qualification,
                } => return Ok(self.fail_entry(root, reason, qualification, border)),
            }
        }
        // The check gave a current VMCS.
        let current = root.current.ok_or(End::FailInvalid)?;
        self.build_vmcs02(border);
        let area = MsrArea::new(
            self.vmcs12.vm_entry_msr_load_addr(),
            self.vmcs12.vm_entry_msr_load_count(),
        );
        let loaded = area.load(
            &self.capabilities,
            border.memory,
            border.msrs,
            &mut self.vmcs02,
        );
        if let Err(BadEntry(number)) = loaded {
            let reason = ExitReason::ENTRY_FAILURE_MSR_LOADING.entry_failure();
            return Ok(self.fail_entry(root, reason, number.into(), border));
        }
        self.vmcs12.set_launch_state(LaunchState::Launched);
        self.entered_by = instruction;
        self.operation = Operation::NonRoot(NonRoot {
            vmxon: root.vmxon,
            current,
            run: Run::Pending,
        });
        self.start_l2(border);
        Ok(Outcome::Entered)
    }

    fn check_entry(
        &self,
        instruction: EntryInstruction,
        root: Root,
        border: &Border<'_>,
    ) -> Option<EntryOutcome> {
        let l1 = L1State {
            cr0: self.view_of_cr0(),
            cr4: self.view_of_cr4(),
            efer: self.vmcs01.guest_ia32_efer(),
            in_smm: false,
        };
        let mov_ss = self.vmcs01.guest_interruptibility_info() & interruptibility::MOV_SS != 0;
        let request = EntryRequest {
            instruction,
            mov_ss,
            current: root.current,
            memory: Some(border.memory),
            ..EntryRequest::new(&self.capabilities, &self.vmcs12, l1)
        };
        request.check().err().map(|failure| failure.outcome())
    }

    /// Makes everything for L2 from vmcs12. L2 is active; what is one-off is as vmcs12 says.
    fn start_l2(&mut self, border: &mut Border<'_>) {
        self.injection = None;
        self.pending = PendingEvents {
            exception: None,
            monitor_trap: false,
            triple_fault: false,
            ..self.pending
        };
        match self.requested_event() {
            Some(Event {
                kind: EventType::Other,
                ..
            }) => self.pending.monitor_trap = true,
            event => self.injection = event,
        }
        self.activity = match self.injection {
            // An event ends the halt (SDM volume 3, section 28.7.2).
            Some(_) => activity::ACTIVE,
            None => self.vmcs12.guest_activity_state(),
        };
        self.timer_deadline = self
            .vmcs12
            .pin()
            .contains(PinControls::PREEMPTION_TIMER)
            .then(|| {
                self.timer_now(border)
                    .saturating_add(self.vmcs12.vmx_preemption_timer_value().into())
            });
        self.load_l2(border);
    }

    /// The event that vmcs12 asks to be injected.
    fn requested_event(&self) -> Option<Event> {
        Event::from_fields(
            self.vmcs12.vm_entry_intr_info_field(),
            self.vmcs12.vm_entry_exception_error_code(),
            self.vmcs12.vm_entry_instruction_len(),
        )
    }

    /// Makes vmcs02 from vmcs01 and vmcs12.
    pub(super) fn build_vmcs02(&mut self, border: &Border<'_>) {
        vmcs02::build(&self.vmcs01, &self.vmcs12, self.vpid02, &mut self.vmcs02);
        self.load_pdptes(border);
    }

    /// Gives vmcs02 to the hardware, with what belongs to it.
    pub(super) fn load_l2(&mut self, border: &mut Border<'_>) {
        vmcs02::merge_msr_bitmap(
            &self.msr_bitmap01,
            &self.vmcs12,
            border.memory,
            &mut self.msr_bitmap02,
        );
        self.load_shadow(border);
        let vpid = self.vmcs12.virtual_processor_id();
        if !self
            .vmcs12
            .secondary()
            .contains(SecondaryControls::ENABLE_VPID)
        {
            // Every VM entry flushes (SDM volume 3, section 30.4.3.1).
            self.flush.linear(LinearFlush::All);
        } else if vpid != self.last_vpid {
            // L0 has one VPID for all of L1's.
            self.flush.linear(LinearFlush::All);
            self.last_vpid = vpid;
        }
        border.hardware.load(&self.vmcs02);
    }

    /// Without EPT12, the PDPTEs of PAE paging come from L1's memory. The entry checks found them
    /// valid; if they no longer are, those of vmcs12 stay.
    fn load_pdptes(&mut self, border: &Border<'_>) {
        if uses_pae(&self.vmcs12)
            && !self
                .vmcs12
                .secondary()
                .contains(SecondaryControls::ENABLE_EPT)
            && let Some(entries) =
                pdptes::read(&self.capabilities, self.vmcs12.guest_cr3(), border.memory)
        {
            for (field, value) in vmcs02::PDPTES.into_iter().zip(entries) {
                self.vmcs02.write(field, value);
            }
        }
    }

    fn load_shadow(&mut self, border: &Border<'_>) {
        if self.has_shadow()
            && border
                .memory
                .read(
                    self.vmcs12.vmcs_link_pointer(),
                    self.shadow_vmcs12.as_bytes_mut(),
                )
                .is_err()
        {
            // The entry checks read it just before; what is no memory any more reads as nothing.
            *self.shadow_vmcs12 = Vmcs::new(self.capabilities.basic.revision());
        }
    }

    /// Whether L2 has a VMCS of its own to read and write.
    pub(super) fn has_shadow(&self) -> bool {
        self.vmcs12
            .secondary()
            .contains(SecondaryControls::VMCS_SHADOWING)
            && self.vmcs12.vmcs_link_pointer() != u64::MAX
    }

    /// L1's TSC in units of the preemption timer.
    pub(super) fn timer_now(&self, border: &Border<'_>) -> u64 {
        // Five bits, so less than 64.
        border.clock.tsc() >> self.capabilities.misc.preemption_timer_rate()
    }
}

/// Whether the guest of this VMCS uses PAE paging.
fn uses_pae(vmcs12: &Vmcs) -> bool {
    let ia32e = vmcs12
        .entry()
        .contains(crate::controls::EntryControls::IA32E_MODE_GUEST)
        || vmcs12.guest_ia32_efer() & efer::LMA != 0
            && vmcs12
                .entry()
                .contains(crate::controls::EntryControls::LOAD_EFER);
    vmcs12.guest_cr0() & cr0::PG != 0 && vmcs12.guest_cr4() & cr4::PAE != 0 && !ia32e
}
