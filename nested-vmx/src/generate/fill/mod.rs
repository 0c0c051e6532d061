// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Fields of a valid state, drawn for what is settled. Each part writes the fields that a VM entry
//! looks at under the controls that are on, and leaves noise in the others.

mod cet;
mod control_fields;
mod fred;
mod guest;
mod host;
mod injection;
mod msr_areas;
mod non_register;
mod segments;

use super::dice::{Dice, Noise};
pub(super) use control_fields::VTPR;
pub(super) use guest::PDPTRS;
pub(super) use injection::{ERROR_CODE, VALID};
pub(super) use non_register::NO_LINK;
pub(super) use segments::{Segment, rights};

use super::memory::Memory;
use super::plan::{Plan, Settled};
use crate::capability::{Capabilities, Features};
use crate::check::EntryInstruction;
use crate::controls::{
    EntryControls, ExitControls, PinControls, PrimaryControls, SecondaryControls,
    SecondaryExitControls, TertiaryControls,
};
use crate::registers::{cr0, cr4, efer};
use crate::vmcs::{Field, LaunchState, Vmcs};

/// What is being filled.
pub(super) struct Filler<'f, 'u, 'a> {
    pub(super) capabilities: &'f Capabilities,
    pub(super) plan: &'f Plan,
    pub(super) settled: &'f Settled,
    pub(super) dice: &'f mut Dice<'u, 'a>,
    pub(super) memory: &'f Memory,
    pub(super) vmcs: Vmcs,
    /// Where in L1's memory the VMCS is.
    pub(super) address: u64,
}

impl Filler<'_, '_, '_> {
    /// Fills all fields.
    pub(super) fn fill(&mut self) {
        self.fill_with_noise();
        self.address = self.page();
        self.memory.set_word(self.address, 0);
        self.vmcs
            .set_header(self.capabilities.basic.revision(), false);
        self.vmcs.set_launch_state(match self.settled.instruction {
            EntryInstruction::Vmlaunch => LaunchState::Clear,
            EntryInstruction::Vmresume => LaunchState::Launched,
        });
        self.fill_controls();
        self.fill_control_fields();
        self.fill_msr_areas();
        self.fill_injection();
        self.fill_host();
        self.fill_guest();
        self.fill_segments();
        self.fill_non_register_state();
    }

    /// Anything in all fields: what is not written over must not count.
    fn fill_with_noise(&mut self) {
        let mut noise = Noise::new(self.dice.bits());
        for &field in Field::ALL {
            self.vmcs.write(field, noise.next());
        }
    }

    fn fill_controls(&mut self) {
        let controls = &self.settled.controls;
        self.set(Field::PinBasedVmExecControl, controls.pin.bits());
        self.set(Field::CpuBasedVmExecControl, controls.primary.bits());
        self.set(Field::VmExitControls, controls.exit.bits());
        self.set(Field::VmEntryControls, controls.entry.bits());
        // Fields that are not activated keep their noise.
        if self.primary(PrimaryControls::ACTIVATE_SECONDARY_CONTROLS) {
            self.set(Field::SecondaryVmExecControl, controls.secondary.bits());
        }
        if self.primary(PrimaryControls::ACTIVATE_TERTIARY_CONTROLS) {
            self.set(Field::TertiaryVmExecControl, controls.tertiary.bits());
        }
        if self.exit(ExitControls::ACTIVATE_SECONDARY_CONTROLS) {
            let bits = controls.secondary_exit.bits();
            self.set(Field::SecondaryVmExitControls, bits);
        }
    }

    pub(super) fn set(&mut self, field: Field, value: impl Into<u64>) {
        self.vmcs.write(field, value.into());
    }

    pub(super) fn insert(&mut self, field: Field, bits: u64) {
        self.vmcs.write(field, self.vmcs.read(field) | bits);
    }

    pub(super) fn pin(&self, control: PinControls) -> bool {
        self.settled.controls.pin.contains(control)
    }

    pub(super) fn primary(&self, control: PrimaryControls) -> bool {
        self.settled.controls.primary.contains(control)
    }

    pub(super) fn secondary(&self, control: SecondaryControls) -> bool {
        self.settled.controls.secondary.contains(control)
    }

    pub(super) fn tertiary(&self, control: TertiaryControls) -> bool {
        self.settled.controls.tertiary.contains(control)
    }

    pub(super) fn exit(&self, control: ExitControls) -> bool {
        self.settled.controls.exit.contains(control)
    }

    pub(super) fn secondary_exit(&self, control: SecondaryExitControls) -> bool {
        self.settled.controls.secondary_exit.contains(control)
    }

    pub(super) fn entry(&self, control: EntryControls) -> bool {
        self.settled.controls.entry.contains(control)
    }

    /// A linear address that is canonical for the processor.
    pub(super) fn canonical(&mut self) -> u64 {
        let processor = &self.capabilities.processor;
        self.dice
            .canonical(processor.linear_address_width(u64::MAX))
    }

    /// An address of L1 that is a multiple of `align`, a power of two.
    pub(super) fn address(&mut self, align: u64) -> u64 {
        let beyond = self.capabilities.beyond_physical();
        // Near the top, so that a bit too many matters.
        let high = match self.dice.once_in(2) {
            true => (!beyond).wrapping_sub(0xff_ffff),
            false => 0,
        };
        (self.dice.bits() | high) & !beyond & !(align - 1)
    }

    /// A page of L1's memory that has no contents yet.
    pub(super) fn page(&mut self) -> u64 {
        self.page_within(u64::MAX)
    }

    /// The same, at an address that has no other bits than these.
    pub(super) fn page_within(&mut self, mask: u64) -> u64 {
        let beyond = self.capabilities.beyond_physical() | !mask;
        let mut page = self.address(4096) & mask;
        // At most as many as there are words in the memory.
        for _ in 0..64 {
            if !self.memory.uses_page(page) {
                break;
            }
            page = page.wrapping_add(4096) & !beyond;
        }
        page
    }

    /// A value of CR3. Code of 64 bits can have linear-address masking.
    pub(super) fn cr3(&mut self, is_64_bit: bool) -> u64 {
        let masking = match is_64_bit && self.has(Features::LAM) {
            true => self.dice.bits() & 3 << 61,
            false => 0,
        };
        let beyond = self.capabilities.processor.beyond_physical();
        self.dice.bits() & !beyond | masking
    }

    /// A value of CR0 with these bits of PE and PG.
    fn cr0(&mut self, mode_bits: u64) -> u64 {
        let (on, off) = self.plan.cr0;
        let mode = cr0::PE | cr0::PG;
        let fixed0 = self.capabilities.cr0_fixed0 & !mode;
        let any = self.dice.bits() & 0xe005_003f;
        (any | on | fixed0) & !off & self.capabilities.cr0_fixed1 & !mode | mode_bits
    }

    /// A value of CR4 in which these bits are 1, and these are 0.
    fn cr4(&mut self, set: u64, clear: u64) -> u64 {
        let (on, off) = self.plan.cr4;
        // A transition to FRED or user interrupts asks for more than the bit.
        let off = off | cr4::FRED | cr4::UINTR;
        // CET needs write protection.
        let off = match self.capabilities.cr0_fixed1 & cr0::WP {
            0 => off | cr4::CET,
            _ => off,
        };
        let fixed0 = self.capabilities.cr4_fixed0;
        (self.dice.bits() & !off | on | set) & !clear & self.capabilities.cr4_fixed1 | fixed0
    }

    /// A value of IA32_EFER with these bits of LME and LMA.
    fn efer(&mut self, mode_bits: u64) -> u64 {
        let mode = efer::LME | efer::LMA;
        self.dice.bits() & self.capabilities.processor.efer & !mode | mode_bits
    }
}
