// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Conditions that many rules share. Those that most rules use are inlined, or the field that they
//! are about is looked up at run time.

use super::super::context::Context;
use super::super::failure::{Allowed, Subject, Violation};
use crate::capability::Features;
use crate::registers::is_canonical;
use crate::vmcs::Field;

/// The field has the bits `must`, and none outside `may`.
#[inline(always)]
pub fn bits(context: &Context<'_>, field: Field, must: u64, may: u64) -> Option<Violation> {
    let value = context.vmcs.read(field);
    bits_of(Subject::Field(field), value, must, may)
}

/// The value has the bits `must`, and none outside `may`.
#[inline(always)]
pub fn bits_of(subject: Subject, value: u64, must: u64, may: u64) -> Option<Violation> {
    (value & must != must || value & !may != 0).then_some(Violation::new(
        subject,
        value,
        Allowed::Bits {
            must_be_1: must,
            may_be_1: may,
        },
    ))
}

/// The field holds a physical address that is a multiple of `alignment` (a power of two).
#[inline(always)]
pub fn address(context: &Context<'_>, field: Field, alignment: u64) -> Option<Violation> {
    let zero = context.beyond | (alignment - 1);
    bits(context, field, 0, !zero)
}

/// The field holds the physical address of a page.
#[inline(always)]
pub fn page(context: &Context<'_>, field: Field) -> Option<Violation> {
    address(context, field, 0x1000)
}

/// The field holds a canonical address.
#[inline(always)]
pub fn canonical(context: &Context<'_>, field: Field, width: u32) -> Option<Violation> {
    let value = context.vmcs.read(field);
    (!is_canonical(value, width)).then_some(Violation::field(
        field,
        value,
        Allowed::Canonical(width),
    ))
}

/// Something else is needed: the bits `needed` of `field` must be 1.
#[inline(always)]
pub fn needs(context: &Context<'_>, field: Field, needed: u64) -> Option<Violation> {
    bits(context, field, needed, u64::MAX)
}

/// Something excludes it: the bits `excluded` of `field` must be 0.
#[inline(always)]
pub fn excludes(context: &Context<'_>, field: Field, excluded: u64) -> Option<Violation> {
    bits(context, field, 0, !excluded)
}

/// Each byte of the field is a memory type of IA32_PAT.
#[inline(always)]
pub fn memory_types(context: &Context<'_>, field: Field) -> Option<Violation> {
    let value = context.vmcs.read(field);
    // 2, 3 and 8 upwards are reserved: bit 1 without bit 2, or a bit from 3 up.
    const EACH: u64 = 0x0101_0101_0101_0101;
    let high = value & (0xf8 * EACH);
    let two_or_three = value & (2 * EACH) & !(value >> 1 & (2 * EACH));
    (high | two_or_three != 0).then_some(Violation::field(field, value, Allowed::MemoryTypes))
}

/// IA32_S_CET: bits 9:6 are reserved, and SUPPRESS and TRACKER exclude each other (SDM volume 1,
/// section 17.2.2). Whether it has to be canonical is another question for the host than for the
/// guest.
pub fn s_cet(context: &Context<'_>, field: Field) -> Option<Violation> {
    const RESERVED: u64 = 0xf << 6;
    const SUPPRESS: u64 = 1 << 10;
    const TRACKER: u64 = 1 << 11;
    let value = context.vmcs.read(field);
    let shadow_stack = if context.capabilities.processor.has(Features::CET_SS) {
        0
    } else {
        3
    };
    let branch_tracking = if context.capabilities.processor.has(Features::CET_IBT) {
        0
    } else {
        !0x3c3
    };
    bits(
        context,
        field,
        0,
        !(RESERVED | shadow_stack | branch_tracking & !3),
    )
    .or_else(|| {
        (value & (SUPPRESS | TRACKER) == SUPPRESS | TRACKER).then_some(Violation::field(
            field,
            value,
            Allowed::Bits {
                must_be_1: 0,
                may_be_1: !TRACKER,
            },
        ))
    })
}

/// A canonical address without these bits.
pub fn canonical_aligned(
    context: &Context<'_>,
    field: Field,
    width: u32,
    zero: u64,
) -> Option<Violation> {
    let value = context.vmcs.read(field);
    (value & zero != 0 || !is_canonical(value, width)).then_some(Violation::field(
        field,
        value,
        Allowed::CanonicalAligned(width, zero),
    ))
}

/// The FRED state of a guest or a host (SDM volume 3, sections 28.2.2 and 28.3.1.1): the
/// configuration, three stack pointers, stack levels, three shadow-stack pointers.
pub fn fred(context: &Context<'_>, fields: &[Field; 8], width: u32) -> Option<Violation> {
    let [config, rsp1, rsp2, rsp3, _levels, ssp1, ssp2, ssp3] = *fields;
    // Bits 2 and 5:4, 11 are reserved; the rest above is the handler's page.
    canonical_aligned(context, config, width, 1 << 2 | 3 << 4 | 1 << 11)
        .or_else(|| {
            [rsp1, rsp2, rsp3]
                .into_iter()
                .find_map(|field| canonical_aligned(context, field, width, 0x3f))
        })
        .or_else(|| {
            [ssp1, ssp2, ssp3]
                .into_iter()
                .find_map(|field| canonical_aligned(context, field, width, 7))
        })
}

/// Bits of IA32_SPEC_CTRL that exist: IBRS, STIBP, SSBD, and the controls of newer processors, all
/// below bit 11, of which bit 9 is reserved (SDM volume 4, table 2-2).
pub const SPEC_CTRL: u64 = 0x5ff;
