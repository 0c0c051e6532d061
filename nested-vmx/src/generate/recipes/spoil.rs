// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Breaks of registers that guest and host both have.

use super::super::spoiler::Spoiler;
use crate::capability::Features;
use crate::registers::{cr0, cr4};
use crate::vmcs::Field;

/// Bits of CR0 that other rules are about, too.
const USED_CR0: u64 = cr0::PE | cr0::PG | cr0::WP | cr0::NW | cr0::CD;
/// And of CR4.
const USED_CR4: u64 = cr4::PAE | cr4::LA57 | cr4::PCIDE | cr4::CET | cr4::UINTR | cr4::FRED;

/// CR0 against its fixed bits.
pub(super) fn cr0(s: &mut Spoiler<'_, '_, '_>, field: Field) -> Option<()> {
    let (fixed0, fixed1) = (s.capabilities().cr0_fixed0, s.capabilities().cr0_fixed1);
    s.flip_one(field, (fixed0 | !fixed1) & !USED_CR0)
}

/// CR4 against its fixed bits.
pub(super) fn cr4(s: &mut Spoiler<'_, '_, '_>, field: Field) -> Option<()> {
    let (fixed0, fixed1) = (s.capabilities().cr4_fixed0, s.capabilities().cr4_fixed1);
    s.flip_one(field, (fixed0 | !fixed1) & !USED_CR4)
}

/// A memory type that there is not: 2, 3, or more than 7.
pub(super) fn pat(s: &mut Spoiler<'_, '_, '_>, field: Field) -> Option<()> {
    let shift = s.dice.below(8) * 8;
    let bad = s.pick(&[2u64, 3, 8, 0x86])?;
    s.remove(field, 0xffu64 << shift);
    s.insert(field, bad << shift);
    Some(())
}

/// State of control-flow enforcement.
pub(super) fn cet(
    s: &mut Spoiler<'_, '_, '_>,
    s_cet: Field,
    ssp: Field,
    table: Field,
) -> Option<()> {
    let processor = s.capabilities().processor;
    let mut reserved = 0xf << 6;
    if !processor.has(Features::CET_SS) {
        reserved |= 3;
    }
    if !processor.has(Features::CET_IBT) {
        // Some bits of the bitmap's address, too.
        reserved |= 0x3c | 3 << 10 | 0xffff << 12;
    }
    match s.dice.below(4) {
        0 => s.set_one(s_cet, reserved),
        1 => s.set_one(ssp, 3),
        // Suppressed, and waiting for ENDBRANCH.
        2 if processor.has(Features::CET_IBT) => {
            s.insert(s_cet, 3u64 << 10);
            Some(())
        }
        _ => s.uncanonize(&[table]),
    }
}

/// Bits of IA32_SPEC_CTRL that no processor has.
pub(super) const SPEC_CTRL_RESERVED: u64 = !0x5ff;

/// State of flexible return and event delivery: the configuration, stack pointers and shadow-stack
/// pointers, in this order.
pub(super) fn fred(s: &mut Spoiler<'_, '_, '_>, fields: &[Field; 7]) -> Option<()> {
    let [config, rsp1, rsp2, rsp3, ssp1, ssp2, ssp3] = *fields;
    match s.dice.below(4) {
        0 => s.set_one(config, 1 << 2 | 3 << 4 | 1 << 11),
        1 => {
            let field = s.pick(&[rsp1, rsp2, rsp3])?;
            s.set_one(field, 0x3f)
        }
        2 => {
            let field = s.pick(&[ssp1, ssp2, ssp3])?;
            s.set_one(field, 7)
        }
        _ => s.uncanonize(&[rsp1, rsp2, rsp3, ssp1, ssp2, ssp3]),
    }
}
