// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Tools for breaking rules in a valid state.

use super::Scenario;
use super::dice::Dice;
use super::fill::{Segment, rights};
use crate::capability::Capabilities;
use crate::controls::{
    EntryControls, ExitControls, PinControls, PrimaryControls, SecondaryControls,
    SecondaryExitControls, TertiaryControls,
};
use crate::registers::{activity, cr0, cr4, debugctl, interruptibility, pending_debug, rflags};
use crate::vmcs::{Field, Vmcs};

/// Breaks rules. Its methods return `None` where the state, or the capabilities, do not let the rule
/// be broken; the state may be anything then.
pub(super) struct Spoiler<'s, 'u, 'a> {
    pub(super) scenario: &'s mut Scenario,
    pub(super) dice: &'s mut Dice<'u, 'a>,
}

/// `None` unless the condition holds.
pub(super) fn when(condition: bool) -> Option<()> {
    condition.then_some(())
}

/// `None` for 0, so that what is drawn from an empty mask is no change.
pub(super) fn any(bits: u64) -> Option<u64> {
    (bits != 0).then_some(bits)
}

impl Spoiler<'_, '_, '_> {
    pub(super) const fn vmcs(&self) -> &Vmcs {
        &self.scenario.vmcs12
    }

    pub(super) const fn capabilities(&self) -> &Capabilities {
        &self.scenario.capabilities
    }

    pub(super) fn read(&self, field: Field) -> u64 {
        self.vmcs().read(field)
    }

    pub(super) fn set(&mut self, field: Field, value: impl Into<u64>) {
        self.scenario.vmcs12.write(field, value.into());
    }

    pub(super) fn insert(&mut self, field: Field, bits: impl Into<u64>) {
        let value = self.read(field) | bits.into();
        self.set(field, value);
    }

    pub(super) fn remove(&mut self, field: Field, bits: impl Into<u64>) {
        let value = self.read(field) & !bits.into();
        self.set(field, value);
    }

    /// Changes one of these bits.
    pub(super) fn flip_one(&mut self, field: Field, mask: u64) -> Option<()> {
        let bit = any(self.dice.bit_of(mask))?;
        let value = self.read(field) ^ bit;
        self.set(field, value);
        Some(())
    }

    /// Sets one of these bits that is 0.
    pub(super) fn set_one(&mut self, field: Field, mask: u64) -> Option<()> {
        self.flip_one(field, mask & !self.read(field))
    }

    /// Makes an address that is no multiple of `align` or is beyond the physical address width.
    pub(super) fn misplace(&mut self, field: Field, align: u64) -> Option<()> {
        let beyond = self.capabilities().beyond_physical();
        match align > 1 && self.dice.once_in(2) {
            true => self.set_one(field, align - 1),
            false => self.set_one(field, beyond),
        }
    }

    /// Makes an address with bits of a physical address that the processor has not.
    pub(super) fn set_beyond(&mut self, field: Field) -> Option<()> {
        let beyond = self.capabilities().processor.beyond_physical();
        // Above bit 51 there are other meanings.
        self.set_one(field, beyond & ((1 << 52) - 1))
    }

    /// Makes one of these fields an address that is not canonical.
    pub(super) fn uncanonize(&mut self, fields: &[Field]) -> Option<()> {
        let field = self.pick(fields)?;
        let width = self.linear_width();
        let address = self.dice.not_canonical(width);
        self.set(field, address);
        Some(())
    }

    /// Bits of the longest linear addresses that the processor has.
    pub(super) const fn linear_width(&self) -> u32 {
        self.capabilities().processor.linear_address_width(u64::MAX)
    }

    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        let first = choices.first().copied()?;
        Some(self.dice.one_of(choices, first))
    }

    pub(super) fn pin(&self, control: PinControls) -> bool {
        self.vmcs().pin().contains(control)
    }

    pub(super) fn primary(&self, control: PrimaryControls) -> bool {
        self.vmcs().primary().contains(control)
    }

    pub(super) fn secondary(&self, control: SecondaryControls) -> bool {
        self.vmcs().secondary().contains(control)
    }

    pub(super) fn exit(&self, control: ExitControls) -> bool {
        self.vmcs().exit().contains(control)
    }

    pub(super) fn tertiary(&self, control: TertiaryControls) -> bool {
        self.vmcs().tertiary().contains(control)
    }

    pub(super) fn secondary_exit(&self, control: SecondaryExitControls) -> bool {
        self.vmcs().secondary_exit().contains(control)
    }

    pub(super) fn entry(&self, control: EntryControls) -> bool {
        self.vmcs().entry().contains(control)
    }

    /// Sets a secondary control that may be 1, where secondary controls are activated.
    pub(super) fn turn_on(&mut self, control: SecondaryControls) -> Option<()> {
        when(self.primary(PrimaryControls::ACTIVATE_SECONDARY_CONTROLS))?;
        when(self.capabilities().secondary().may_be_1(control))?;
        self.insert(Field::SecondaryVmExecControl, control.bits());
        Some(())
    }

    /// Clears a secondary control that is 1 and may be 0.
    pub(super) fn turn_off(&mut self, control: SecondaryControls) -> Option<()> {
        when(self.secondary(control))?;
        let must = self.capabilities().secondary().must_be_1();
        when(must & u64::from(control.bits()) == 0)?;
        self.remove(Field::SecondaryVmExecControl, control.bits());
        Some(())
    }

    /// Breaks the capability MSR of a control field. Only these bits are touched: reserved ones,
    /// and controls that nothing else asks about.
    pub(super) fn disallow(
        &mut self,
        field: Field,
        must: u64,
        may: u64,
        harmless: u64,
    ) -> Option<()> {
        let wrong_if_0 = must & self.read(field);
        let wrong_if_1 = !may & !self.read(field) & field.width().mask();
        self.flip_one(field, (wrong_if_0 | wrong_if_1) & harmless)
    }

    pub(super) fn is_ia32e(&self) -> bool {
        self.entry(EntryControls::IA32E_MODE_GUEST)
    }

    pub(super) fn is_virtual_8086(&self) -> bool {
        self.vmcs().guest_rflags() & rflags::VM != 0
    }

    pub(super) fn is_unrestricted(&self) -> bool {
        self.secondary(SecondaryControls::UNRESTRICTED_GUEST)
    }

    pub(super) fn is_protected(&self) -> bool {
        self.vmcs().guest_cr0() & cr0::PE != 0
    }

    pub(super) fn has_pdptes(&self) -> bool {
        let pae = self.vmcs().guest_cr4() & cr4::PAE != 0;
        self.vmcs().guest_cr0() & cr0::PG != 0 && pae && !self.is_ia32e()
    }

    pub(super) fn is_64_bit_code(&self) -> bool {
        self.is_ia32e() && self.read(Segment::CS.rights) & rights::L != 0
    }

    pub(super) fn is_usable(&self, segment: Segment) -> bool {
        self.read(segment.rights) & rights::UNUSABLE == 0
    }

    /// One of these segments that is usable.
    pub(super) fn usable(&mut self, segments: &[Segment]) -> Option<Segment> {
        let usable = || segments.iter().filter(|segment| self.is_usable(**segment));
        let count = usable().count() as u64;
        let which = self.dice.below(count) as usize;
        segments
            .iter()
            .filter(|segment| self.is_usable(**segment))
            .nth(which)
            .copied()
    }

    pub(super) fn privilege(&self, segment: Segment) -> u64 {
        (self.read(segment.rights) & rights::DPL) >> 5
    }

    pub(super) fn set_privilege(&mut self, segment: Segment, privilege: u64) {
        self.remove(segment.rights, rights::DPL);
        self.insert(segment.rights, privilege << 5);
    }

    /// The type of a segment.
    pub(super) fn kind(&self, segment: Segment) -> u64 {
        self.read(segment.rights) & 0xf
    }

    pub(super) fn set_kind(&mut self, segment: Segment, kind: u64) {
        self.remove(segment.rights, 0xfu64);
        self.insert(segment.rights, kind);
    }

    pub(super) const fn is_active(&self) -> bool {
        self.vmcs().guest_activity_state() == activity::ACTIVE
    }

    pub(super) const fn blocking(&self) -> u32 {
        self.vmcs().guest_interruptibility_info()
            & (interruptibility::STI | interruptibility::MOV_SS)
    }

    pub(super) const fn injects(&self) -> bool {
        self.vmcs().vm_entry_intr_info_field() >> 31 != 0
    }

    /// The type of the injected event.
    pub(super) const fn injected_type(&self) -> Option<u32> {
        match self.injects() {
            true => Some(self.vmcs().vm_entry_intr_info_field() >> 8 & 7),
            false => None,
        }
    }

    /// Makes the pending debug exceptions what they must be where events are held back.
    pub(super) fn settle_pending_debug(&mut self) {
        let vmcs = self.vmcs();
        let steps = vmcs.guest_rflags() & rflags::TF != 0
            && vmcs.guest_ia32_debugctl() & debugctl::BTF == 0;
        let pending = if steps { pending_debug::BS } else { 0 };
        self.set(Field::GuestPendingDbgExceptions, pending);
    }
}
