// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! RIP and RFLAGS of the guest (SDM volume 3, section 28.3.1.4).

use super::super::context::Context;
use super::super::failure::{Allowed, Violation};
use super::values::{bits, excludes, needs};
use crate::interruption::EventType;
use crate::registers::{is_canonical, rflags};
use crate::vmcs::Field;

pub fn rip(context: &Context<'_>) -> Option<Violation> {
    const L: u32 = 1 << 13;
    let is_64_bit = context.ia32e_guest() && context.vmcs.guest_cs_ar_bytes() & L != 0;
    if !is_64_bit {
        return bits(context, Field::GuestRip, 0, 0xffff_ffff);
    }
    // The bits above the linear address are equal; they need not be those of a canonical address.
    let width = context.linear_width + 1;
    let rip = context.vmcs.guest_rip();
    (!is_canonical(rip, width)).then_some(Violation::field(
        Field::GuestRip,
        rip,
        Allowed::Canonical(width),
    ))
}

/// Bits 63:22, 15, 5 and 3 are reserved.
const RESERVED: u64 = !0x3f_ffff | 1 << 15 | 1 << 5 | 1 << 3;

pub fn reserved(context: &Context<'_>) -> Option<Violation> {
    bits(context, Field::GuestRflags, rflags::RESERVED_1, !RESERVED)
}

pub fn virtual_8086(context: &Context<'_>) -> Option<Violation> {
    match context.ia32e_guest() || !context.protected_mode() {
        true => excludes(context, Field::GuestRflags, rflags::VM),
        false => None,
    }
}

pub fn interrupts(context: &Context<'_>) -> Option<Violation> {
    context.injects(EventType::ExternalInterrupt)?;
    needs(context, Field::GuestRflags, rflags::IF)
}
