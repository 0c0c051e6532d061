// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Flexible return and event delivery in the guest (SDM volume 3, sections 28.3.1.1, 28.3.1.2,
//! 28.3.1.4 and 28.3.1.5).

use super::super::context::Context;
use super::super::failure::Violation;
use super::values::{excludes, fred, needs};
use crate::controls::EntryControls;
use crate::registers::{cr4, interruptibility, rflags};
use crate::vmcs::Field;

const FIELDS: [Field; 8] = [
    Field::GuestIa32FredConfig,
    Field::GuestIa32FredRsp1,
    Field::GuestIa32FredRsp2,
    Field::GuestIa32FredRsp3,
    Field::GuestIa32FredStackLevels,
    Field::GuestIa32FredSsp1,
    Field::GuestIa32FredSsp2,
    Field::GuestIa32FredSsp3,
];

/// What FRED is configured with, and that it is enabled in IA-32e mode only.
pub fn state(context: &Context<'_>) -> Option<Violation> {
    let outside = match context.ia32e_guest() {
        true => None,
        false => excludes(context, Field::GuestCr4, cr4::FRED),
    };
    outside.or_else(|| match context.entry.contains(EntryControls::LOAD_FRED) {
        true => fred(context, &FIELDS, context.linear_width),
        false => None,
    })
}

/// FRED transitions know two privilege levels: 0 with 64-bit code, and 3, from which neither I/O
/// nor a shadow of STI is possible.
pub fn privilege(context: &Context<'_>) -> Option<Violation> {
    const DPL: u64 = 3 << 5;
    const L: u64 = 1 << 13;
    if !context.fred_guest() {
        return None;
    }
    match context.vmcs.guest_ss_ar_bytes() >> 5 & 3 {
        0 => needs(context, Field::GuestCsArBytes, L),
        3 => excludes(context, Field::GuestRflags, rflags::IOPL).or_else(|| {
            let sti = interruptibility::STI.into();
            excludes(context, Field::GuestInterruptibilityInfo, sti)
        }),
        _ => excludes(context, Field::GuestSsArBytes, DPL),
    }
}
