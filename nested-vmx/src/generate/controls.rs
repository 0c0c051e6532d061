// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Values of all control fields that go together.

use super::dice::Dice;
use crate::capability::{Capabilities, Part};
use crate::controls::{
    EntryControls as Entry, ExitControls as Exit, PinControls as Pin, PrimaryControls as Primary,
    SecondaryControls as Secondary, SecondaryExitControls as SecondaryExit,
    TertiaryControls as Tertiary,
};

/// A value of each control field.
#[derive(Clone, Copy, Debug)]
pub(super) struct ControlSet {
    pub(super) pin: Pin,
    pub(super) primary: Primary,
    pub(super) secondary: Secondary,
    pub(super) tertiary: Tertiary,
    pub(super) exit: Exit,
    pub(super) secondary_exit: SecondaryExit,
    pub(super) entry: Entry,
}

/// What VM entries ask of controls that are 1: for any of the first, all of the second (SDM volume
/// 3, sections 28.2.1.1 to 28.2.1.3 and 28.2.4).
const NEEDS: &[(Part, Part)] = &[
    (
        Part::Secondary(Secondary::from_bits_retain(u32::MAX)),
        Part::Primary(Primary::ACTIVATE_SECONDARY_CONTROLS),
    ),
    (
        Part::Tertiary(Tertiary::from_bits_retain(u64::MAX)),
        Part::Primary(Primary::ACTIVATE_TERTIARY_CONTROLS),
    ),
    (
        Part::SecondaryExit(SecondaryExit::from_bits_retain(u64::MAX)),
        Part::Exit(Exit::ACTIVATE_SECONDARY_CONTROLS),
    ),
    (
        Part::Primary(Primary::NMI_WINDOW_EXITING),
        Part::Pin(Pin::VIRTUAL_NMIS),
    ),
    (Part::Pin(Pin::VIRTUAL_NMIS), Part::Pin(Pin::NMI_EXITING)),
    (
        Part::Pin(Pin::PROCESS_POSTED_INTERRUPTS),
        Part::Secondary(Secondary::VIRTUAL_INTERRUPT_DELIVERY),
    ),
    (
        Part::Pin(Pin::PROCESS_POSTED_INTERRUPTS),
        Part::Exit(Exit::ACKNOWLEDGE_INTERRUPT_ON_EXIT),
    ),
    (
        Part::Tertiary(Tertiary::APIC_TIMER_VIRTUALIZATION),
        Part::Secondary(Secondary::VIRTUAL_INTERRUPT_DELIVERY),
    ),
    (
        Part::Secondary(Secondary::VIRTUAL_INTERRUPT_DELIVERY),
        Part::Pin(Pin::EXTERNAL_INTERRUPT_EXITING),
    ),
    (
        Part::Secondary(
            Secondary::VIRTUALIZE_X2APIC_MODE
                .union(Secondary::APIC_REGISTER_VIRTUALIZATION)
                .union(Secondary::VIRTUAL_INTERRUPT_DELIVERY),
        ),
        Part::Primary(Primary::USE_TPR_SHADOW),
    ),
    (
        Part::Tertiary(Tertiary::IPI_VIRTUALIZATION),
        Part::Primary(Primary::USE_TPR_SHADOW),
    ),
    (
        Part::Secondary(
            Secondary::UNRESTRICTED_GUEST
                .union(Secondary::ENABLE_PML)
                .union(Secondary::MODE_BASED_EXECUTE_CONTROL)
                .union(Secondary::SUB_PAGE_WRITE_PERMISSIONS)
                .union(Secondary::PT_USES_GUEST_PHYSICAL_ADDRESSES),
        ),
        Part::Secondary(Secondary::ENABLE_EPT),
    ),
    (
        Part::Tertiary(
            Tertiary::ENABLE_HLAT
                .union(Tertiary::EPT_PAGING_WRITE_CONTROL)
                .union(Tertiary::GUEST_PAGING_VERIFICATION),
        ),
        Part::Secondary(Secondary::ENABLE_EPT),
    ),
    (
        Part::Secondary(Secondary::PT_USES_GUEST_PHYSICAL_ADDRESSES),
        Part::Entry(Entry::LOAD_RTIT_CTL),
    ),
    (
        Part::Secondary(Secondary::PT_USES_GUEST_PHYSICAL_ADDRESSES),
        Part::Exit(Exit::CLEAR_RTIT_CTL),
    ),
    (
        Part::Exit(Exit::SAVE_PREEMPTION_TIMER),
        Part::Pin(Pin::PREEMPTION_TIMER),
    ),
    (
        Part::Entry(Entry::IA32E_MODE_GUEST),
        Part::Exit(Exit::HOST_ADDRESS_SPACE_SIZE),
    ),
];

/// Controls that only one of can be 1.
const EITHER: (Secondary, Secondary) = (
    Secondary::VIRTUALIZE_X2APIC_MODE,
    Secondary::VIRTUALIZE_APIC_ACCESSES,
);

impl ControlSet {
    /// All of them 0.
    pub(super) const NONE: Self = Self {
        pin: Pin::empty(),
        primary: Primary::empty(),
        secondary: Secondary::empty(),
        tertiary: Tertiary::empty(),
        exit: Exit::empty(),
        secondary_exit: SecondaryExit::empty(),
        entry: Entry::empty(),
    };

    /// The bits that must be 1.
    fn must(capabilities: &Capabilities) -> Self {
        Self {
            pin: Pin::from_bits_retain(capabilities.pin().must_be_1() as u32),
            primary: Primary::from_bits_retain(capabilities.primary().must_be_1() as u32),
            secondary: Secondary::from_bits_retain(capabilities.secondary().must_be_1() as u32),
            tertiary: Tertiary::empty(),
            exit: Exit::from_bits_retain(capabilities.exit().must_be_1() as u32),
            secondary_exit: SecondaryExit::empty(),
            entry: Entry::from_bits_retain(capabilities.entry().must_be_1() as u32),
        }
    }

    /// The bits that may be 1.
    fn may(capabilities: &Capabilities) -> Self {
        Self {
            pin: Pin::from_bits_retain(capabilities.pin().allowed_1() as u32),
            primary: Primary::from_bits_retain(capabilities.primary().allowed_1() as u32),
            secondary: Secondary::from_bits_retain(capabilities.secondary().allowed_1() as u32),
            tertiary: Tertiary::from_bits_retain(capabilities.tertiary().allowed_1()),
            exit: Exit::from_bits_retain(capabilities.exit().allowed_1() as u32),
            secondary_exit: SecondaryExit::from_bits_retain(
                capabilities.secondary_exit().allowed_1(),
            ),
            entry: Entry::from_bits_retain(capabilities.entry().allowed_1() as u32),
        }
    }

    fn each(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        let half = |a: u32, b: u32| with(a.into(), b.into()) as u32;
        Self {
            pin: Pin::from_bits_retain(half(self.pin.bits(), other.pin.bits())),
            primary: Primary::from_bits_retain(half(self.primary.bits(), other.primary.bits())),
            secondary: Secondary::from_bits_retain(half(
                self.secondary.bits(),
                other.secondary.bits(),
            )),
            tertiary: Tertiary::from_bits_retain(with(self.tertiary.bits(), other.tertiary.bits())),
            exit: Exit::from_bits_retain(half(self.exit.bits(), other.exit.bits())),
            secondary_exit: SecondaryExit::from_bits_retain(with(
                self.secondary_exit.bits(),
                other.secondary_exit.bits(),
            )),
            entry: Entry::from_bits_retain(half(self.entry.bits(), other.entry.bits())),
        }
    }

    fn union(self, other: Self) -> Self {
        self.each(other, |a, b| a | b)
    }

    fn intersection(self, other: Self) -> Self {
        self.each(other, |a, b| a & b)
    }

    fn difference(self, other: Self) -> Self {
        self.each(other, |a, b| a & !b)
    }

    fn is_empty(self) -> bool {
        self.pin.is_empty()
            && self.primary.is_empty()
            && self.secondary.is_empty()
            && self.tertiary.is_empty()
            && self.exit.is_empty()
            && self.secondary_exit.is_empty()
            && self.entry.is_empty()
    }

    fn bits_of(self, part: Part) -> u64 {
        match part {
            Part::Pin(_) => self.pin.bits().into(),
            Part::Primary(_) => self.primary.bits().into(),
            Part::Secondary(_) => self.secondary.bits().into(),
            Part::Tertiary(_) => self.tertiary.bits(),
            Part::Exit(_) => self.exit.bits().into(),
            Part::SecondaryExit(_) => self.secondary_exit.bits(),
            Part::Entry(_) => self.entry.bits().into(),
            _ => 0,
        }
    }

    /// Whether one of these controls is 1.
    fn has(self, part: Part) -> bool {
        self.bits_of(part) & part.bits() != 0
    }

    /// Sets these controls to 1.
    pub(super) fn insert(&mut self, part: impl Into<Part>) {
        match part.into() {
            Part::Pin(bits) => self.pin |= bits,
            Part::Primary(bits) => self.primary |= bits,
            Part::Secondary(bits) => self.secondary |= bits,
            Part::Tertiary(bits) => self.tertiary |= bits,
            Part::Exit(bits) => self.exit |= bits,
            Part::SecondaryExit(bits) => self.secondary_exit |= bits,
            Part::Entry(bits) => self.entry |= bits,
            _ => {}
        }
    }

    fn remove(&mut self, part: Part) {
        let mut these = Self::NONE;
        these.insert(part);
        *self = self.difference(these);
    }

    /// Whether secondary controls have to be activated for these to be 1.
    pub(super) fn calls_for_secondary(mut self) -> bool {
        self.close();
        self.primary.contains(Primary::ACTIVATE_SECONDARY_CONTROLS)
    }

    /// Sets to 1 what those that are 1 need.
    fn close(&mut self) {
        // As often as the longest chain in the table: an APIC timer needs virtual-interrupt
        // delivery, that the TPR shadow.
        for _ in 0..6 {
            for &(any, all) in NEEDS {
                if self.has(any) {
                    self.insert(all);
                }
            }
        }
    }

    /// Any values.
    fn any(dice: &mut Dice<'_, '_>) -> Self {
        let pin_and_primary = dice.bits();
        let secondary_and_entry = dice.bits();
        let exit = dice.bits();
        Self {
            pin: Pin::from_bits_retain(pin_and_primary as u32),
            primary: Primary::from_bits_retain((pin_and_primary >> 32) as u32),
            secondary: Secondary::from_bits_retain(secondary_and_entry as u32),
            tertiary: Tertiary::from_bits_retain(exit >> 48),
            exit: Exit::from_bits_retain(exit as u32),
            secondary_exit: SecondaryExit::from_bits_retain(exit >> 32 & 0xffff),
            entry: Entry::from_bits_retain((secondary_and_entry >> 32) as u32),
        }
    }

    /// Values where all of `on` are 1 and all of `off` are 0, that go together and that the
    /// capabilities allow. `None` if there are none.
    pub(super) fn arbitrary(
        capabilities: &Capabilities,
        mut on: Self,
        off: Self,
        dice: &mut Dice<'_, '_>,
    ) -> Option<Self> {
        on = on.union(Self::must(capabilities));
        // A field that is not activated need not have its must-be-1 bits, so they call for nothing.
        if off.primary.contains(Primary::ACTIVATE_SECONDARY_CONTROLS) {
            on.remove(Part::Secondary(Secondary::all()));
        }
        on.close();
        let may = Self::may(capabilities);
        let contrary = !on.intersection(off).is_empty();
        if contrary || !on.difference(may).is_empty() {
            return None;
        }

        let mut set = Self::any(dice).union(on).difference(off).intersection(may);
        let (first, second) = EITHER;
        if set.secondary.contains(first | second) {
            set.secondary.remove(match on.secondary.contains(second) {
                true => first,
                false => second,
            });
        }
        for _ in 0..6 {
            for &(any, all) in NEEDS {
                if set.has(any) && set.bits_of(all) & all.bits() != all.bits() {
                    set.remove(any);
                }
            }
        }
        on.difference(set).is_empty().then_some(set)
    }
}
