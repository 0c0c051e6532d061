// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The event that is injected (SDM volume 3, section 28.2.1.3).

use super::super::fill::{ERROR_CODE, VALID};
use super::super::plan::Injection;
use super::super::spoiler::when;
use super::{Recipe, recipe};
use crate::check::Rule;
use crate::controls::PrimaryControls;
use crate::registers::activity;
use crate::vmcs::Field;

const FIELD: Field = Field::VmEntryIntrInfoField;

pub(super) const RECIPES: &[Recipe] = &[
    recipe!(InjectedType, |p| p.activity = Some(activity::ACTIVE), |s| {
        when(s.is_active())?;
        let vector = u32::from(s.dice.byte());
        s.set(FIELD, VALID | 1 << 8 | vector);
        Some(())
    }),
    recipe!(
        InjectedOther,
        |p| p.activity = Some(activity::ACTIVE),
        |s| {
            let mtf = PrimaryControls::MONITOR_TRAP_FLAG;
            when(s.is_active() && !s.capabilities().primary().may_be_1(mtf))?;
            s.set(FIELD, VALID | 7 << 8);
            Some(())
        }
    ),
    recipe!(
        InjectedNmi,
        |p| {
            p.injections = &[Injection::Nmi];
            p.activity = Some(activity::ACTIVE);
        },
        |s| {
            when(s.injected_type() == Some(2) && s.is_active())?;
            change_vector(s, 0..=255, 2)
        }
    ),
    recipe!(
        InjectedException,
        |p| {
            p.injections = &[Injection::Exception];
            p.activity = Some(activity::ACTIVE);
        },
        |s| {
            when(s.injected_type() == Some(3) && s.is_active())?;
            when(s.vmcs().vm_entry_intr_info_field() & ERROR_CODE == 0)?;
            change_vector(s, 32..=255, 0)
        }
    ),
    recipe!(
        InjectedOtherVector,
        |p| {
            p.injections = &[Injection::Mtf];
            p.activity = Some(activity::ACTIVE);
        },
        |s| {
            when(s.injected_type() == Some(7) && s.is_active())?;
            change_vector(s, 1..=255, 0)
        }
    ),
    recipe!(
        InjectedErrorCodeMode,
        |p| p.injections = Injection::EVENTS,
        |s| {
            let kind = s.injected_type()?;
            let field = s.vmcs().vm_entry_intr_info_field();
            when(field & ERROR_CODE == 0)?;
            when(kind != 3 || s.is_unrestricted() && !s.is_protected())?;
            s.set(FIELD, field | ERROR_CODE);
            let code = s.dice.bits() & 0x7fff;
            s.set(Field::VmEntryExceptionErrorCode, code);
            Some(())
        }
    ),
    recipe!(
        InjectedErrorCodeVector,
        |p| p.injections = Injection::EXCEPTIONS,
        |s| {
            when(s.injected_type() == Some(3))?;
            when(!s.capabilities().basic.has_free_error_code())?;
            when(!s.is_unrestricted() || s.is_protected())?;
            let field = s.vmcs().vm_entry_intr_info_field();
            s.set(FIELD, field ^ ERROR_CODE);
            let code = s.dice.bits() & 0x7fff;
            s.set(Field::VmEntryExceptionErrorCode, code);
            Some(())
        }
    ),
    recipe!(
        InjectedReserved,
        |p| p.injections = Injection::EVENTS,
        |s| {
            when(s.injects())?;
            // Bit 13 is a nested exception on processors with FRED.
            let nested = if s.injected_type() == Some(3) {
                1 << 13
            } else {
                0
            };
            s.set_one(FIELD, 0x7fff_f000 & !nested)
        }
    ),
    recipe!(
        InjectedErrorCodeHigh,
        |p| p.injections = &[Injection::ExceptionWithCode],
        |s| {
            when(s.injects())?;
            when(s.vmcs().vm_entry_intr_info_field() & ERROR_CODE != 0)?;
            s.set_one(Field::VmEntryExceptionErrorCode, 0xffff_0000)
        }
    ),
    recipe!(
        InjectedLength,
        |p| p.injections = Injection::SOFTWARE,
        |s| {
            when(matches!(s.injected_type(), Some(4..=6)))?;
            let may_be_0 = s.capabilities().misc.allows_zero_length_injection();
            let length = match !may_be_0 && s.dice.once_in(2) {
                true => 0,
                false => s.dice.above(15, 1 << 16),
            };
            s.set(Field::VmEntryInstructionLen, length);
            Some(())
        }
    ),
];

/// Replaces the vector by another one.
fn change_vector(
    s: &mut super::Spoiler<'_, '_, '_>,
    range: core::ops::RangeInclusive<u64>,
    but: u64,
) -> Option<()> {
    let count = range.end() - range.start() + 1;
    let vector = match s.dice.once_in(4) {
        true => *range.start(),
        false => range.start() + s.dice.below(count),
    };
    when(vector != but)?;
    s.remove(FIELD, 0xffu64);
    s.insert(FIELD, vector);
    Some(())
}
