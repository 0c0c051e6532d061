// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the rules look at, read from the VMCS once.

use super::request::EntryRequest;
use super::rules::guest_segments::Segments;
use crate::capability::Capabilities;
use crate::controls::{
    EntryControls, ExitControls, PinControls, PrimaryControls, SecondaryControls,
    SecondaryExitControls, TertiaryControls,
};
use crate::interruption::EventType;
use crate::registers::{cr0, cr4, rflags};
use crate::vmcs::Vmcs;

/// Bit 31 of the VM-entry interruption information.
const VALID: u32 = 1 << 31;

/// The event to be injected.
#[derive(Clone, Copy)]
pub(super) struct Injected {
    pub information: u32,
    pub kind: EventType,
    pub vector: u8,
    pub has_error_code: bool,
}

pub(super) struct Context<'a> {
    pub request: &'a EntryRequest<'a>,
    pub capabilities: &'a Capabilities,
    pub vmcs: &'a Vmcs,
    pub pin: PinControls,
    pub primary: PrimaryControls,
    pub secondary: SecondaryControls,
    pub tertiary: TertiaryControls,
    pub exit: ExitControls,
    pub secondary_exit: SecondaryExitControls,
    pub entry: EntryControls,
    pub injected: Option<Injected>,
    pub segments: Segments,
    /// Bits that no physical address in a VMX structure has.
    pub beyond: u64,
    /// Bits of the longest linear address that the processor can have.
    pub linear_width: u32,
}

impl<'a> Context<'a> {
    pub fn new(request: &'a EntryRequest<'a>) -> Self {
        let vmcs = request.vmcs12;
        let information = vmcs.vm_entry_intr_info_field();
        Self {
            request,
            capabilities: request.capabilities,
            vmcs,
            pin: vmcs.pin(),
            primary: vmcs.primary(),
            secondary: vmcs.secondary(),
            tertiary: vmcs.tertiary(),
            exit: vmcs.exit(),
            secondary_exit: vmcs.secondary_exit(),
            entry: vmcs.entry(),
            injected: (information & VALID != 0).then_some(Injected {
                information,
                kind: EventType::from_bits(information >> 8),
                vector: information as u8,
                has_error_code: information & 1 << 11 != 0,
            }),
            segments: Segments::of(vmcs),
            beyond: request.capabilities.beyond_physical(),
            linear_width: request
                .capabilities
                .processor
                .linear_address_width(u64::MAX),
        }
    }

    pub fn has(&self, control: SecondaryControls) -> bool {
        self.secondary.contains(control)
    }

    /// The guest may be in real mode, or without paging.
    pub fn unrestricted(&self) -> bool {
        self.has(SecondaryControls::UNRESTRICTED_GUEST)
    }

    pub fn ia32e_guest(&self) -> bool {
        self.entry.contains(EntryControls::IA32E_MODE_GUEST)
    }

    /// Events are delivered to the guest by FRED.
    pub fn fred_guest(&self) -> bool {
        self.ia32e_guest() && self.vmcs.guest_cr4() & cr4::FRED != 0
    }

    pub fn host_is_64_bit(&self) -> bool {
        self.exit.contains(ExitControls::HOST_ADDRESS_SPACE_SIZE)
    }

    pub fn virtual_8086(&self) -> bool {
        self.vmcs.guest_rflags() & rflags::VM != 0
    }

    pub fn protected_mode(&self) -> bool {
        self.vmcs.guest_cr0() & cr0::PE != 0
    }

    /// The injected event, if it is of this type.
    pub fn injects(&self, kind: EventType) -> Option<Injected> {
        self.injected.filter(|injected| injected.kind == kind)
    }
}
