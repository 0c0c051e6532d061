// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The event that is injected (SDM volume 3, section 28.2.1.3).

use super::super::mode::Mode;
use super::super::plan::Injection;
use super::Filler;
use crate::capability::Features;
use crate::registers::activity;
use crate::vmcs::Field;

/// The field's bit that there is an event.
pub(in super::super) const VALID: u32 = 1 << 31;
/// The field's bit that an error code is pushed.
pub(in super::super) const ERROR_CODE: u32 = 1 << 11;

/// #DF, #TS, #NP, #SS, #GP, #PF and #AC push an error code on every processor.
const fn always_pushes_code(vector: u32) -> bool {
    matches!(vector, 8 | 10..=14 | 17)
}

/// #CP does on processors that have it.
const CONTROL_PROTECTION: u32 = 21;

/// Of those that do not, the ones that can be delivered to a processor that is halted or shut down: #DB, #MC.
const TO_HALTED: [u32; 2] = [18, 1];

impl Filler<'_, '_, '_> {
    pub(super) fn fill_injection(&mut self) {
        let (kind, vector) = match self.settled.injection {
            Injection::None => {
                let field = self.dice.bits() as u32 & !VALID;
                return self.set(Field::VmEntryIntrInfoField, field);
            }
            Injection::ExternalInterrupt => (0, u32::from(self.dice.byte())),
            Injection::Nmi => (2, 2),
            Injection::ExceptionWithCode | Injection::Exception => (3, self.exception()),
            Injection::Software(5) => (5, 1),
            Injection::Software(6) => (6, self.dice.one_of(&[3, 4], 3)),
            Injection::Software(kind) => (kind, u32::from(self.dice.byte())),
            Injection::Mtf => (7, 0),
        };
        let has_code = match self.settled.injection {
            Injection::ExceptionWithCode => true,
            // Where consistency is not asked for, any exception may push one.
            Injection::Exception => self.has_free_code() && self.dice.once_in(4),
            _ => false,
        };
        if has_code {
            let code = self.dice.bits() & 0x7fff;
            self.set(Field::VmEntryExceptionErrorCode, code);
        }
        if matches!(self.settled.injection, Injection::Software(_)) {
            let least = u64::from(!self.capabilities.misc.allows_zero_length_injection());
            let length = least + self.dice.below(16 - least);
            self.set(Field::VmEntryInstructionLen, length);
        }
        let code_bit = if has_code { ERROR_CODE } else { 0 };
        let field = VALID | code_bit | kind << 8 | vector;
        self.set(Field::VmEntryIntrInfoField, field);
    }

    fn has_free_code(&self) -> bool {
        let is_protected = !self.settled.unrestricted || self.settled.mode != Mode::Real;
        is_protected && self.capabilities.basic.has_free_error_code()
    }

    fn exception(&mut self) -> u32 {
        let is_protected = self.settled.mode != Mode::Real;
        match (self.settled.injection, self.settled.activity) {
            (Injection::ExceptionWithCode, _) if self.has_free_code() => self.dice.below(32) as u32,
            (Injection::ExceptionWithCode, _) => self.vector(true),
            (_, activity::ACTIVE) if !is_protected || self.has_free_code() => {
                self.dice.below(32) as u32
            }
            (_, activity::ACTIVE) => self.vector(false),
            (_, activity::HLT) => self.dice.one_of(&TO_HALTED, 18),
            _ => 18,
        }
    }

    /// A vector for which an error code is pushed, or is not.
    fn vector(&mut self, has_code: bool) -> u32 {
        let has_control_protection = self.has(Features::CET_SS | Features::CET_IBT);
        let pushes = |vector| {
            always_pushes_code(vector) || vector == CONTROL_PROTECTION && has_control_protection
        };
        let possible = || (0..32).filter(|vector| pushes(*vector) == has_code);
        let which = self.dice.below(possible().count() as u64);
        possible().nth(which as usize).unwrap_or_default()
    }
}
