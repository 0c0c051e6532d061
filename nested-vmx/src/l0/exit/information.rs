// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a VM exit says about itself (SDM volume 3, sections 26.9 and 29.2).

use crate::exit_reason::ExitReason;
use crate::interruption::Event;
use crate::vmcs::{Field, Vmcs};

/// The VM-exit information fields, but for the IDT-vectoring ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitInformation {
    /// The exit reason.
    pub reason: ExitReason,
    /// The exit qualification.
    pub qualification: u64,
    /// The event that caused the exit, or that was acknowledged with it.
    pub event: Option<Event>,
    /// Bit 12 of the interruption information: an IRET that faulted had unblocked NMIs.
    pub nmi_unblocking: bool,
    /// The VM-exit instruction length, in bytes.
    pub instruction_length: u32,
    /// The VM-exit instruction information.
    pub instruction_information: u32,
    /// The guest-linear address.
    pub linear_address: u64,
    /// The guest-physical address.
    pub physical_address: u64,
}

impl ExitInformation {
    /// An exit with this reason, everything else 0.
    pub const fn new(reason: ExitReason) -> Self {
        Self {
            reason,
            qualification: 0,
            event: None,
            nmi_unblocking: false,
            instruction_length: 0,
            instruction_information: 0,
            linear_address: 0,
            physical_address: 0,
        }
    }

    /// An exit because of an event: exit reason 0 or 1.
    pub const fn event(reason: ExitReason, event: Event, qualification: u64) -> Self {
        let mut exit = Self::new(reason);
        exit.event = Some(event);
        exit.qualification = qualification;
        exit.instruction_length = event.instruction_length;
        exit
    }

    /// Writes it to vmcs12, with the event that the exit interrupted the delivery of.
    pub(in crate::l0) fn write(&self, vectoring: Option<Event>, vmcs12: &mut Vmcs) {
        let unblocking = u32::from(self.nmi_unblocking) << 12;
        let information = self
            .event
            .map_or(0, |event| event.information() | unblocking);
        let error_code = |event: Option<Event>| event.and_then(|event| event.error_code);
        for (field, value) in [
            (Field::VmExitReason, self.reason.0.into()),
            (Field::ExitQualification, self.qualification),
            (Field::VmExitIntrInfo, information.into()),
            (Field::VmExitInstructionLen, self.instruction_length.into()),
            (
                Field::VmxInstructionInfo,
                self.instruction_information.into(),
            ),
            (Field::GuestLinearAddress, self.linear_address),
            (Field::GuestPhysicalAddress, self.physical_address),
            (
                Field::IdtVectoringInfoField,
                vectoring.map_or(0, |event| event.information()).into(),
            ),
        ] {
            vmcs12.write(field, value);
        }
        // Undefined without an error code; a real processor leaves what was there.
        if let Some(code) = error_code(self.event) {
            vmcs12.write(Field::VmExitIntrErrorCode, code.into());
        }
        if let Some(code) = error_code(vectoring) {
            vmcs12.write(Field::IdtVectoringErrorCode, code.into());
        }
        if let Some(event) = vectoring
            && event.kind.is_software()
        {
            // Where L1 finds the length to inject it again (SDM volume 3, section 29.2.5).
            vmcs12.write(Field::VmExitInstructionLen, event.instruction_length.into());
        }
    }
}
