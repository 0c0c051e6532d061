// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The registers in memory, of an xAPIC.

use super::register::Register;
use super::{LocalApic, errors};
use crate::devices::interrupts::now::Now;
use crate::devices::interrupts::register_bytes;

impl LocalApic {
    /// Reads from the register page. `offset` counts from its begin. When there is no such page,
    /// all bits are ones.
    pub fn read(&mut self, offset: u64, data: &mut [u8], now: Now) {
        if self.page().is_none() {
            data.fill(0xff);
            return;
        }
        self.advance(now);
        register_bytes::read(offset, data, |slot| match Register::of_xapic(slot) {
            Some(register) => self.read_register(register, now),
            None => {
                self.report(errors::ILLEGAL_REGISTER);
                0
            }
        });
    }

    /// Writes to the register page. `offset` counts from its begin.
    pub fn write(&mut self, offset: u64, data: &[u8], now: Now) {
        if self.page().is_none() {
            return;
        }
        self.advance(now);
        let Some((slot, value)) = register_bytes::written(offset, data) else {
            return;
        };
        match Register::of_xapic(slot) {
            Some(register) => self.write_register(register, value, now),
            None => self.report(errors::ILLEGAL_REGISTER),
        }
    }
}
