// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Segment registers of the guest (SDM volume 3, section 28.3.1.2).

use super::super::context::Context;
use super::super::failure::{Allowed, Violation};
use super::values::{bits, canonical, excludes};
use crate::vmcs::{Field, Vmcs};

/// The four fields of a segment register.
#[derive(Clone, Copy)]
struct Segment {
    selector: Field,
    base: Field,
    limit: Field,
    rights: Field,
}

macro_rules! segment {
    ($selector:ident $base:ident $limit:ident $rights:ident) => {
        Segment {
            selector: Field::$selector,
            base: Field::$base,
            limit: Field::$limit,
            rights: Field::$rights,
        }
    };
}

const CS: Segment = segment!(GuestCsSelector GuestCsBase GuestCsLimit GuestCsArBytes);
const SS: Segment = segment!(GuestSsSelector GuestSsBase GuestSsLimit GuestSsArBytes);
const DS: Segment = segment!(GuestDsSelector GuestDsBase GuestDsLimit GuestDsArBytes);
const ES: Segment = segment!(GuestEsSelector GuestEsBase GuestEsLimit GuestEsArBytes);
const FS: Segment = segment!(GuestFsSelector GuestFsBase GuestFsLimit GuestFsArBytes);
const GS: Segment = segment!(GuestGsSelector GuestGsBase GuestGsLimit GuestGsArBytes);
const TR: Segment = segment!(GuestTrSelector GuestTrBase GuestTrLimit GuestTrArBytes);
const LDTR: Segment = segment!(GuestLdtrSelector GuestLdtrBase GuestLdtrLimit GuestLdtrArBytes);

const CODE_AND_DATA: [Segment; 6] = [CS, SS, DS, ES, FS, GS];
const DATA: [Segment; 4] = [DS, ES, FS, GS];

/// TI, the bit of a selector that means the LDT.
const TI: u64 = 1 << 2;

/// Access rights (SDM volume 3, table 26-2).
#[derive(Clone, Copy)]
struct Rights(u32);

impl Rights {
    const TYPE: u64 = 0xf;
    const S: u64 = 1 << 4;
    const DPL: u64 = 3 << 5;
    const P: u64 = 1 << 7;
    const RESERVED: u64 = 0xf00 | 0xfffe_0000;
    const DB: u64 = 1 << 14;
    const G: u64 = 1 << 15;
    const UNUSABLE: u64 = 1 << 16;

    const fn kind(self) -> u32 {
        self.0 & 0xf
    }

    const fn dpl(self) -> u32 {
        self.0 >> 5 & 3
    }

    const fn is_64_bit_code(self) -> bool {
        self.0 >> 13 & 1 != 0
    }

    const fn is_usable(self) -> bool {
        self.0 as u64 & Self::UNUSABLE == 0
    }
}

impl Segment {
    fn rights(self, vmcs: &Vmcs) -> Rights {
        Rights(vmcs.read(self.rights) as u32)
    }

    fn is_usable(self, vmcs: &Vmcs) -> bool {
        self.rights(vmcs).is_usable()
    }

    /// RPL of the selector.
    fn rpl(self, vmcs: &Vmcs) -> u32 {
        (vmcs.read(self.selector) & 3) as u32
    }

    /// A part of the access rights must have this value.
    fn rights_part(self, vmcs: &Vmcs, mask: u64, value: u64) -> Option<Violation> {
        let rights = vmcs.read(self.rights);
        (rights & mask != value).then_some(Violation::field(
            self.rights,
            rights,
            Allowed::Bits {
                must_be_1: value,
                may_be_1: !mask | value,
            },
        ))
    }

    /// The type must be one of these, as bits of `types`; `example` is one.
    fn type_in(self, vmcs: &Vmcs, types: u16, example: u64) -> Option<Violation> {
        match types >> self.rights(vmcs).kind() & 1 {
            1 => None,
            _ => self.rights_part(vmcs, Rights::TYPE, example),
        }
    }

    /// G fits the limit: 0 if a low bit of the limit is 0, 1 if a high bit is 1.
    fn granularity(self, vmcs: &Vmcs) -> Option<Violation> {
        let limit = vmcs.read(self.limit);
        let must_be_bytes = limit & 0xfff != 0xfff;
        let must_be_pages = limit >> 20 != 0;
        match (must_be_bytes, must_be_pages) {
            // No G fits.
            (true, true) => Some(Violation::field(
                self.limit,
                limit,
                Allowed::Bits {
                    must_be_1: 0xfff,
                    may_be_1: u64::MAX,
                },
            )),
            (true, false) => self.rights_part(vmcs, Rights::G, 0),
            (false, true) => self.rights_part(vmcs, Rights::G, Rights::G),
            (false, false) => None,
        }
    }
}

/// CS, and those data segments that are usable.
fn checked(context: &Context<'_>) -> impl Iterator<Item = Segment> {
    CODE_AND_DATA
        .into_iter()
        .filter(|segment| segment.rights == CS.rights || segment.is_usable(context.vmcs))
}

pub fn tr_ti(context: &Context<'_>) -> Option<Violation> {
    excludes(context, TR.selector, TI)
}

pub fn ldtr_ti(context: &Context<'_>) -> Option<Violation> {
    match LDTR.is_usable(context.vmcs) {
        true => excludes(context, LDTR.selector, TI),
        false => None,
    }
}

pub fn ss_rpl(context: &Context<'_>) -> Option<Violation> {
    if context.virtual_8086() || context.unrestricted() {
        return None;
    }
    let rpl = CS.rpl(context.vmcs).into();
    bits(context, SS.selector, rpl, !3 | rpl)
}

/// The first segment for which `broken` says something, in virtual-8086 mode.
fn in_virtual_8086(
    context: &Context<'_>,
    broken: impl Fn(Segment) -> Option<Violation>,
) -> Option<Violation> {
    match context.virtual_8086() {
        true => CODE_AND_DATA.into_iter().find_map(broken),
        false => None,
    }
}

/// The field must be just this.
fn exactly(context: &Context<'_>, field: Field, expected: u64) -> Option<Violation> {
    let value = context.vmcs.read(field);
    (value != expected).then_some(Violation::field(field, value, Allowed::Exactly(expected)))
}

pub fn virtual_8086_base(context: &Context<'_>) -> Option<Violation> {
    in_virtual_8086(context, |segment| {
        let selector = context.vmcs.read(segment.selector);
        exactly(context, segment.base, selector << 4)
    })
}

pub fn virtual_8086_limit(context: &Context<'_>) -> Option<Violation> {
    in_virtual_8086(context, |segment| exactly(context, segment.limit, 0xffff))
}

pub fn virtual_8086_rights(context: &Context<'_>) -> Option<Violation> {
    in_virtual_8086(context, |segment| exactly(context, segment.rights, 0xf3))
}

pub fn base_canonical(context: &Context<'_>) -> Option<Violation> {
    [TR, FS, GS, LDTR]
        .into_iter()
        .filter(|segment| segment.rights != LDTR.rights || segment.is_usable(context.vmcs))
        .find_map(|segment| canonical(context, segment.base, context.linear_width))
}

pub fn base_high(context: &Context<'_>) -> Option<Violation> {
    [CS, SS, DS, ES]
        .into_iter()
        .filter(|segment| segment.rights == CS.rights || segment.is_usable(context.vmcs))
        .find_map(|segment| bits(context, segment.base, 0, 0xffff_ffff))
}

/// Accessed code segments: types 9, 11, 13, 15.
const CODE: u16 = 1 << 9 | 1 << 11 | 1 << 13 | 1 << 15;
/// An accessed, writable data segment.
const WRITABLE: u16 = 1 << 3;
/// The same, expanding down.
const WRITABLE_DOWN: u16 = 1 << 7;
/// Accessed data segments, and accessed code segments that are readable.
const READABLE: u16 = 1 << 1 | WRITABLE | 1 << 5 | WRITABLE_DOWN | 1 << 11 | 1 << 15;

pub fn cs_type(context: &Context<'_>) -> Option<Violation> {
    let types = match context.unrestricted() {
        true => CODE | WRITABLE,
        false => CODE,
    };
    match context.virtual_8086() {
        true => None,
        false => CS.type_in(context.vmcs, types, 11),
    }
}

pub fn ss_type(context: &Context<'_>) -> Option<Violation> {
    let is_checked = !context.virtual_8086() && SS.is_usable(context.vmcs);
    match is_checked {
        true => SS.type_in(context.vmcs, WRITABLE | WRITABLE_DOWN, 3),
        false => None,
    }
}

pub fn data_type(context: &Context<'_>) -> Option<Violation> {
    if context.virtual_8086() {
        return None;
    }
    DATA.into_iter()
        .filter(|segment| segment.is_usable(context.vmcs))
        .find_map(|segment| segment.type_in(context.vmcs, READABLE, 3))
}

/// The first segment that is checked for which `broken` says something, outside virtual-8086 mode.
fn in_checked(
    context: &Context<'_>,
    broken: impl Fn(Segment) -> Option<Violation>,
) -> Option<Violation> {
    match context.virtual_8086() {
        true => None,
        false => checked(context).find_map(broken),
    }
}

pub fn s_bit(context: &Context<'_>) -> Option<Violation> {
    in_checked(context, |segment| {
        segment.rights_part(context.vmcs, Rights::S, Rights::S)
    })
}

const fn dpl_bits(dpl: u32) -> u64 {
    (dpl as u64) << 5
}

pub fn cs_dpl(context: &Context<'_>) -> Option<Violation> {
    if context.virtual_8086() {
        return None;
    }
    let cs = CS.rights(context.vmcs);
    let ss = SS.rights(context.vmcs).dpl();
    match cs.kind() {
        3 => CS.rights_part(context.vmcs, Rights::DPL, 0),
        9 | 11 => CS.rights_part(context.vmcs, Rights::DPL, dpl_bits(ss)),
        13 | 15 if cs.dpl() > ss => CS.rights_part(context.vmcs, Rights::DPL, dpl_bits(ss)),
        _ => None,
    }
}

pub fn ss_dpl(context: &Context<'_>) -> Option<Violation> {
    if context.virtual_8086() {
        return None;
    }
    let vmcs = context.vmcs;
    let by_rpl = match context.unrestricted() {
        true => None,
        false => SS.rights_part(vmcs, Rights::DPL, dpl_bits(SS.rpl(vmcs))),
    };
    by_rpl.or_else(|| {
        let zero = CS.rights(vmcs).kind() == 3 || !context.protected_mode();
        match zero {
            true => SS.rights_part(vmcs, Rights::DPL, 0),
            false => None,
        }
    })
}

pub fn data_dpl(context: &Context<'_>) -> Option<Violation> {
    if context.virtual_8086() || context.unrestricted() {
        return None;
    }
    let vmcs = context.vmcs;
    DATA.into_iter()
        .filter(|segment| segment.is_usable(vmcs))
        .find_map(|segment| {
            let rights = segment.rights(vmcs);
            let rpl = segment.rpl(vmcs);
            // Conforming code (12 to 15) is exempt.
            match rights.kind() <= 11 && rights.dpl() < rpl {
                true => segment.rights_part(vmcs, Rights::DPL, dpl_bits(rpl)),
                false => None,
            }
        })
}

pub fn p_bit(context: &Context<'_>) -> Option<Violation> {
    in_checked(context, |segment| {
        segment.rights_part(context.vmcs, Rights::P, Rights::P)
    })
}

pub fn rights_reserved(context: &Context<'_>) -> Option<Violation> {
    in_checked(context, |segment| {
        segment.rights_part(context.vmcs, Rights::RESERVED, 0)
    })
}

pub fn cs_db_l(context: &Context<'_>) -> Option<Violation> {
    let is_checked = !context.virtual_8086()
        && context.ia32e_guest()
        && CS.rights(context.vmcs).is_64_bit_code();
    match is_checked {
        true => CS.rights_part(context.vmcs, Rights::DB, 0),
        false => None,
    }
}

pub fn granularity(context: &Context<'_>) -> Option<Violation> {
    in_checked(context, |segment| segment.granularity(context.vmcs))
}

/// What TR and LDTR share: a present system descriptor.
fn system(segment: Segment, vmcs: &Vmcs, types: u16, example: u64) -> Option<Violation> {
    segment
        .type_in(vmcs, types, example)
        .or_else(|| segment.rights_part(vmcs, Rights::S, 0))
        .or_else(|| segment.rights_part(vmcs, Rights::P, Rights::P))
        .or_else(|| segment.rights_part(vmcs, Rights::RESERVED, 0))
        .or_else(|| segment.granularity(vmcs))
}

pub fn tr(context: &Context<'_>) -> Option<Violation> {
    // A busy 32- or 64-bit TSS; outside IA-32e mode a busy 16-bit one, too.
    let types = match context.ia32e_guest() {
        true => 1 << 11,
        false => 1 << 11 | 1 << 3,
    };
    system(TR, context.vmcs, types, 11)
        .or_else(|| TR.rights_part(context.vmcs, Rights::UNUSABLE, 0))
}

pub fn ldtr(context: &Context<'_>) -> Option<Violation> {
    match LDTR.is_usable(context.vmcs) {
        true => system(LDTR, context.vmcs, 1 << 2, 2),
        false => None,
    }
}
