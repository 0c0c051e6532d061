// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! State of flexible return and event delivery, and of speculation.

use super::Filler;
use crate::vmcs::Field;

/// Bits of IA32_SPEC_CTRL that there are (SDM volume 4, table 2-2).
pub(super) const SPEC_CTRL: u64 = 0x5ff;

/// Reserved bits of IA32_FRED_CONFIG: 2, 5:4 and 11.
const CONFIG_RESERVED: u64 = 1 << 2 | 3 << 4 | 1 << 11;

impl Filler<'_, '_, '_> {
    /// The configuration, three stack pointers aligned to 64 bytes, any stack levels, and three
    /// shadow-stack pointers aligned to 8.
    pub(super) fn fill_fred(&mut self, fields: &[Field; 8]) {
        let [config, rsp1, rsp2, rsp3, levels, ssp1, ssp2, ssp3] = *fields;
        let value = self.canonical() & !CONFIG_RESERVED;
        self.set(config, value);
        for (field, zero) in [
            (rsp1, 0x3f),
            (rsp2, 0x3f),
            (rsp3, 0x3f),
            (ssp1, 7),
            (ssp2, 7),
            (ssp3, 7),
        ] {
            let pointer = self.canonical() & !zero;
            self.set(field, pointer);
        }
        let any = self.dice.bits();
        self.set(levels, any);
    }
}
