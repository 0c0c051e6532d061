// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Page-directory-pointer-table entries of the guest (SDM volume 3, section 28.3.1.6).

use super::super::context::Context;
use super::super::failure::{Allowed, Subject, Violation};
use super::values::bits_of;
use crate::controls::SecondaryControls;
use crate::registers::{cr0, cr4};
use crate::vmcs::Field;

/// Exit qualification of a failed entry because of them (SDM volume 3, section 28.8).
const QUALIFICATION: u64 = 2;
const PRESENT: u64 = 1;
/// Bits 2:1 and 8:5 of a present entry.
const RESERVED: u64 = 0x1e6;

const FIELDS: [Field; 4] = [
    Field::GuestPdptr0,
    Field::GuestPdptr1,
    Field::GuestPdptr2,
    Field::GuestPdptr3,
];

pub fn pdptes(context: &Context<'_>) -> Option<Violation> {
    let vmcs = context.vmcs;
    let pae = vmcs.guest_cr0() & cr0::PG != 0
        && vmcs.guest_cr4() & cr4::PAE != 0
        && !context.ia32e_guest();
    if !pae {
        return None;
    }
    let violation = match context.has(SecondaryControls::ENABLE_EPT) {
        true => FIELDS
            .into_iter()
            .find_map(|field| entry(context, Subject::Field(field), vmcs.read(field))),
        false => in_memory(context),
    };
    violation.map(|violation| violation.with_qualification(QUALIFICATION))
}

fn entry(context: &Context<'_>, subject: Subject, value: u64) -> Option<Violation> {
    let reserved = RESERVED | context.capabilities.processor.beyond_physical();
    match value & PRESENT {
        0 => None,
        _ => bits_of(subject, value, 0, !reserved),
    }
}

/// Without EPT, CR3 points at them.
fn in_memory(context: &Context<'_>) -> Option<Violation> {
    let memory = context.request.memory?;
    let cr3 = context.vmcs.guest_cr3();
    let mut bytes = [0; 32];
    // Bits 31:5 of CR3.
    if memory.read(cr3 & 0xffff_ffe0, &mut bytes).is_err() {
        return Some(Violation::field(Field::GuestCr3, cr3, Allowed::Memory));
    }
    (0..)
        .zip(bytes.as_chunks::<8>().0)
        .find_map(|(number, bytes)| {
            entry(context, Subject::Pdpte(number), u64::from_le_bytes(*bytes))
        })
}
