// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! State of control-flow enforcement.

use super::Filler;
use crate::capability::Features;
use crate::vmcs::Field;

/// Bits of IA32_S_CET for shadow stacks.
const SHADOW_STACK: u64 = 3;
/// Bits of IA32_S_CET for indirect-branch tracking, without the suppression of it.
const TRACKING: u64 = 0x3c;
/// SUPPRESS, TRACKER: not both (SDM volume 1, section 18.3.1).
const ONE_OF: [u64; 3] = [0, 1 << 10, 1 << 11];

impl Filler<'_, '_, '_> {
    /// IA32_S_CET, SSP and the table of interrupt shadow stacks. 32-bit code has addresses of 32
    /// bits.
    pub(super) fn fill_cet(&mut self, s_cet: Field, ssp: Field, table: Field, is_64_bit: bool) {
        let processor = &self.capabilities.processor;
        let mut control = 0;
        if processor.has(Features::CET_SS) {
            control |= self.dice.bits() & SHADOW_STACK;
        }
        if processor.has(Features::CET_IBT) {
            control |= self.dice.bits() & TRACKING | self.dice.one_of(&ONE_OF, 0);
            control |= self.linear(is_64_bit) & !0xfff;
        }
        self.set(s_cet, control);
        // Aligned to 8 in 64-bit code, to 4 elsewhere; 8 is both.
        let pointer = self.linear(is_64_bit) & !7;
        self.set(ssp, pointer);
        let table_address = self.canonical();
        self.set(table, table_address);
    }

    /// A linear address.
    pub(super) fn linear(&mut self, is_64_bit: bool) -> u64 {
        match is_64_bit {
            true => self.canonical(),
            false => self.dice.bits() & 0xffff_ffff,
        }
    }
}
