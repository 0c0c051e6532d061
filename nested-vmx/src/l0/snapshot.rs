// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Everything of a virtual processor's VMX that must move with it.

use alloc::boxed::Box;

use thiserror::Error;

use super::NestedVmx;
use super::border::Border;
use super::control_register::{CR0, CR4, ControlRegister};
use super::event::PendingEvents;
use super::run::Asked;
use super::smm::SmmState;
use super::state::{NonRoot, Operation};
use crate::check::{EntryInstruction, EntryRequest, Failure, L1State};
use crate::controls::{EntryControls, PinControls};
use crate::ept::Invalidation;
use crate::interruption::Event;
use crate::registers::efer;
use crate::vmcs::{Field, Kind, LaunchState, Vmcs};

/// The VMX of one virtual processor, saved. What is not in it: L1's memory, its MSRs, and the
/// registers of the guest that runs, which are L0's to save with the processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Where the processor is, a pending entry included.
    pub operation: Operation,
    /// SMM.
    pub smm: SmmState,
    /// The current VMCS of L1. While L2 is active, its guest-state area is L2's state.
    pub vmcs12: Box<Vmcs>,
    /// The VMCS of L2's that the link pointer refers to.
    pub shadow_vmcs12: Box<Vmcs>,
    /// L1's state, in the guest-state area and the masks and shadows of CR0 and CR4. The rest is
    /// L0's own, and is not restored.
    pub l1: Box<Vmcs>,
    /// The event on its way into L2.
    pub injection: Option<Event>,
    /// What CR2 or DR6 gets with it.
    pub payload: Option<u64>,
    /// What waits.
    pub pending: PendingEvents,
    /// L2's activity state.
    pub activity: u32,
    /// What is left of L1's preemption timer, in its units.
    pub preemption_timer: Option<u64>,
    /// The instruction by which L1 entered L2 last: what a pending entry that fails has to undo.
    pub entered_by: EntryInstruction,
}

/// Why a snapshot is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SnapshotError {
    /// The address of a VMX region is not aligned, or beyond the physical-address width.
    #[error("{address:#x} cannot be the address of a VMX region: not 4-KiB aligned, or too wide")]
    Address {
        /// The address.
        address: u64,
    },
    /// The VMXON region and the current VMCS are at the same address.
    #[error("the VMXON region and the current VMCS are both at {address:#x}")]
    SameRegion {
        /// The address.
        address: u64,
    },
    /// The current VMCS has another revision identifier.
    #[error("the current VMCS has revision {found:#x}, this processor has {expected:#x}")]
    Revision {
        /// The VMCS's.
        found: u32,
        /// The processor's.
        expected: u32,
    },
    /// L2 is active, and its VMCS could not have been entered.
    #[error("L2 is active with a VMCS that no VM entry accepts: {0}")]
    Unenterable(Failure),
    /// An activity state that does not exist.
    #[error("activity state {0} does not exist")]
    Activity(u32),
    /// The processor is in SMM, and what SMM interrupted was in SMM.
    #[error("in SMM the processor is outside VMX operation, but the snapshot has it inside")]
    Smm,
}

impl NestedVmx {
    /// Saves the state. Nothing changes.
    pub fn save(&mut self, border: &Border<'_>) -> Snapshot {
        let mut vmcs12 = self.vmcs12.clone();
        if self.operation.is_non_root() {
            border.hardware.store(&mut self.vmcs02);
            super::exit::save_guest_state(
                &self.capabilities,
                &self.vmcs01,
                &self.vmcs02,
                self.activity,
                &mut vmcs12,
            );
        } else {
            self.fetch_guest_state(border);
        }
        Snapshot {
            operation: self.operation,
            smm: self.smm,
            vmcs12,
            shadow_vmcs12: self.shadow_vmcs12.clone(),
            l1: self.vmcs01.clone(),
            injection: self.injection,
            payload: self.payload,
            pending: self.pending,
            activity: self.activity,
            preemption_timer: self.timer_left(border),
            entered_by: self.entered_by,
        }
    }

    /// Restores a saved state, which is not trusted. A pending entry is still pending, with the
    /// event that is to be injected; an event that was delivered is not injected again.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`]; nothing changed.
    pub fn restore(
        &mut self,
        snapshot: &Snapshot,
        border: &mut Border<'_>,
    ) -> Result<(), SnapshotError> {
        self.check_snapshot(snapshot, border)?;
        self.operation = snapshot.operation;
        self.smm = snapshot.smm;
        self.vmcs12.clone_from(&snapshot.vmcs12);
        self.restore_l1(&snapshot.l1);
        self.injection = snapshot.injection;
        self.payload = snapshot.payload;
        self.pending = snapshot.pending;
        self.activity = snapshot.activity;
        self.entered_by = snapshot.entered_by;
        self.timer_deadline =
            Self::timer_of(snapshot).map(|left| self.timer_now(border).saturating_add(left));
        self.asked = Asked::No;
        self.flush.linear(super::LinearFlush::All);
        self.flush.ept(Invalidation::AllContexts);
        match self.operation {
            Operation::NonRoot(_) => {
                self.build_vmcs02(border);
                self.load_l2(border);
            }
            _ => border.hardware.load(&self.vmcs01),
        }
        // Not what L1's memory has: L2's writes to it are not there yet.
        self.shadow_vmcs12.clone_from(&snapshot.shadow_vmcs12);
        Ok(())
    }

    /// What is left of L1's preemption timer: it runs if L2 is active and L1's control is on,
    /// whatever else the snapshot says.
    fn timer_of(snapshot: &Snapshot) -> Option<u64> {
        let has_l2 = snapshot.operation.is_non_root()
            || matches!(snapshot.smm, SmmState::Inside(before) if before.is_non_root());
        let is_on = snapshot
            .vmcs12
            .pin()
            .contains(PinControls::PREEMPTION_TIMER);
        (has_l2 && is_on).then(|| {
            snapshot
                .preemption_timer
                .unwrap_or_else(|| snapshot.vmcs12.vmx_preemption_timer_value().into())
        })
    }

    /// L1's state: L0's controls and host state stay as they are, and the guest-state area's fields
    /// that are for L0's own use.
    fn restore_l1(&mut self, l1: &Vmcs) {
        for fields in [CR0, CR4] {
            let view = ControlRegister::of(l1, fields).view();
            ControlRegister::of(&self.vmcs01, fields)
                .with_view(view)
                .write(&mut self.vmcs01, fields);
        }
        for &field in Field::ALL {
            let is_control_register = matches!(field, Field::GuestCr0 | Field::GuestCr4);
            let is_l0s = matches!(field, Field::GuestPmlIndex | Field::VmxPreemptionTimerValue);
            if field.kind() == Kind::Guest && !is_control_register && !is_l0s {
                self.vmcs01.write(field, l1.read(field));
            }
        }
        self.vmcs01.write(Field::VmcsLinkPointer, u64::MAX);
        let mut entry = self.vmcs01.entry();
        entry.set(
            EntryControls::IA32E_MODE_GUEST,
            l1.guest_ia32_efer() & efer::LMA != 0,
        );
        self.vmcs01
            .write(Field::VmEntryControls, entry.bits().into());
    }

    fn check_snapshot(
        &self,
        snapshot: &Snapshot,
        border: &Border<'_>,
    ) -> Result<(), SnapshotError> {
        self.check_operation(snapshot.operation, &snapshot.vmcs12)?;
        match snapshot.smm {
            SmmState::Outside => {}
            SmmState::Inside(before) => {
                if snapshot.operation != Operation::Off {
                    return Err(SnapshotError::Smm);
                }
                self.check_operation(before, &snapshot.vmcs12)?;
            }
        }
        if snapshot.activity > crate::registers::activity::WAIT_FOR_SIPI {
            return Err(SnapshotError::Activity(snapshot.activity));
        }
        match (snapshot.operation, snapshot.smm) {
            // Where RSM goes on with L2, nothing is checked any more.
            (Operation::NonRoot(l2), _) | (_, SmmState::Inside(Operation::NonRoot(l2))) => {
                self.check_l2(snapshot, l2, border)
            }
            _ => Ok(()),
        }
    }

    fn check_operation(&self, operation: Operation, vmcs12: &Vmcs) -> Result<(), SnapshotError> {
        let Some(vmxon) = operation.vmxon() else {
            return Ok(());
        };
        let is_region = |address| {
            self.is_region_address(address)
                .then_some(())
                .ok_or(SnapshotError::Address { address })
        };
        is_region(vmxon)?;
        let Some(current) = operation.current() else {
            return Ok(());
        };
        is_region(current)?;
        if current == vmxon {
            return Err(SnapshotError::SameRegion { address: vmxon });
        }
        let expected = self.capabilities.basic.revision();
        match vmcs12.revision() {
            found if found != expected => Err(SnapshotError::Revision { found, expected }),
            _ => Ok(()),
        }
    }

    /// L2's VMCS must be one that a VM entry accepts, but for what is one-off.
    fn check_l2(
        &self,
        snapshot: &Snapshot,
        l2: NonRoot,
        border: &Border<'_>,
    ) -> Result<(), SnapshotError> {
        let mut vmcs12 = snapshot.vmcs12.clone();
        vmcs12.set_launch_state(LaunchState::Launched);
        // What is injected next, and not what L1 asked for: that may be in L2 already.
        write_event(&mut vmcs12, snapshot.injection);
        let view = |fields| ControlRegister::of(&snapshot.l1, fields).view();
        let l1 = L1State {
            cr0: view(CR0),
            cr4: view(CR4),
            efer: snapshot.l1.guest_ia32_efer(),
            in_smm: false,
        };
        let request = EntryRequest {
            instruction: EntryInstruction::Vmresume,
            current: Some(l2.current),
            memory: Some(border.memory),
            ..EntryRequest::new(&self.capabilities, &vmcs12, l1)
        };
        request.check().map_err(SnapshotError::Unenterable)
    }
}

/// Asks for the injection of this event.
fn write_event(vmcs12: &mut Vmcs, event: Option<Event>) {
    let information = event.map_or(0, |event| event.information());
    vmcs12.write(Field::VmEntryIntrInfoField, information.into());
    if let Some(event) = event {
        let code = event.error_code.unwrap_or(0);
        vmcs12.write(Field::VmEntryExceptionErrorCode, code.into());
        vmcs12.write(
            Field::VmEntryInstructionLen,
            event.instruction_length.into(),
        );
    }
}
