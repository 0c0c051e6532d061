// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Segment registers of the guest (SDM volume 3, section 28.3.1.2).

use super::super::context::Context;
use super::super::failure::{Allowed, Subject, Violation};
use super::values::bits_of;
use crate::registers::is_canonical;
use crate::vmcs::{Field, Vmcs};

/// The four fields of a segment register.
#[derive(Clone, Copy)]
struct Names {
    selector: Field,
    base: Field,
    limit: Field,
    rights: Field,
}

/// A segment register of the guest, read once: most rules look at all of them.
#[derive(Clone, Copy)]
pub struct Segment {
    names: &'static Names,
    selector: u64,
    base: u64,
    limit: u64,
    rights: Rights,
}

macro_rules! segments {
    ($vmcs:ident: $($selector:ident $base:ident $limit:ident $rights:ident,
        $selector_of:ident $base_of:ident $limit_of:ident $rights_of:ident;)*) => {
        [$(
            Segment {
                names: &Names {
                    selector: Field::$selector,
                    base: Field::$base,
                    limit: Field::$limit,
                    rights: Field::$rights,
                },
                selector: $vmcs.$selector_of() as u64,
                base: $vmcs.$base_of(),
                limit: $vmcs.$limit_of() as u64,
                rights: Rights($vmcs.$rights_of()),
            },
        )*]
    };
}

/// The guest's segment registers.
#[derive(Clone, Copy)]
pub struct Segments([Segment; 8]);

impl Segments {
    #[inline]
    pub const fn of(vmcs: &Vmcs) -> Self {
        Self(segments! { vmcs:
            GuestCsSelector GuestCsBase GuestCsLimit GuestCsArBytes,
            guest_cs_selector guest_cs_base guest_cs_limit guest_cs_ar_bytes;
            GuestSsSelector GuestSsBase GuestSsLimit GuestSsArBytes,
            guest_ss_selector guest_ss_base guest_ss_limit guest_ss_ar_bytes;
            GuestDsSelector GuestDsBase GuestDsLimit GuestDsArBytes,
            guest_ds_selector guest_ds_base guest_ds_limit guest_ds_ar_bytes;
            GuestEsSelector GuestEsBase GuestEsLimit GuestEsArBytes,
            guest_es_selector guest_es_base guest_es_limit guest_es_ar_bytes;
            GuestFsSelector GuestFsBase GuestFsLimit GuestFsArBytes,
            guest_fs_selector guest_fs_base guest_fs_limit guest_fs_ar_bytes;
            GuestGsSelector GuestGsBase GuestGsLimit GuestGsArBytes,
            guest_gs_selector guest_gs_base guest_gs_limit guest_gs_ar_bytes;
            GuestTrSelector GuestTrBase GuestTrLimit GuestTrArBytes,
            guest_tr_selector guest_tr_base guest_tr_limit guest_tr_ar_bytes;
            GuestLdtrSelector GuestLdtrBase GuestLdtrLimit GuestLdtrArBytes,
            guest_ldtr_selector guest_ldtr_base guest_ldtr_limit guest_ldtr_ar_bytes;
        })
    }

    const fn cs(&self) -> &Segment {
        let [cs, ..] = &self.0;
        cs
    }

    const fn ss(&self) -> &Segment {
        let [_, ss, ..] = &self.0;
        ss
    }

    const fn tr(&self) -> &Segment {
        let [.., tr, _] = &self.0;
        tr
    }

    const fn ldtr(&self) -> &Segment {
        let [.., ldtr] = &self.0;
        ldtr
    }

    /// CS, SS, DS, ES, FS, GS.
    const fn code_and_data(&self) -> &[Segment] {
        let [all @ .., _, _] = &self.0;
        all
    }

    /// DS, ES, FS, GS.
    const fn data(&self) -> &[Segment] {
        let [_, _, data @ .., _, _] = &self.0;
        data
    }
}

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
    const fn is_usable(&self) -> bool {
        self.rights.is_usable()
    }

    /// RPL of the selector.
    const fn rpl(&self) -> u32 {
        (self.selector & 3) as u32
    }

    /// A part of the access rights must have this value.
    fn rights_part(&self, mask: u64, value: u64) -> Option<Violation> {
        let rights = u64::from(self.rights.0);
        (rights & mask != value).then(|| {
            Violation::field(
                self.names.rights,
                rights,
                Allowed::Bits {
                    must_be_1: value,
                    may_be_1: !mask | value,
                },
            )
        })
    }

    /// The type must be one of these, as bits of `types`; `example` is one.
    fn type_in(&self, types: u16, example: u64) -> Option<Violation> {
        match types >> self.rights.kind() & 1 {
            1 => None,
            _ => self.rights_part(Rights::TYPE, example),
        }
    }

    /// G fits the limit: 0 if a low bit of the limit is 0, 1 if a high bit is 1.
    fn granularity(&self) -> Option<Violation> {
        let must_be_bytes = self.limit & 0xfff != 0xfff;
        let must_be_pages = self.limit >> 20 != 0;
        match (must_be_bytes, must_be_pages) {
            // No G fits.
            (true, true) => Some(Violation::field(
                self.names.limit,
                self.limit,
                Allowed::Bits {
                    must_be_1: 0xfff,
                    may_be_1: u64::MAX,
                },
            )),
            (true, false) => self.rights_part(Rights::G, 0),
            (false, true) => self.rights_part(Rights::G, Rights::G),
            (false, false) => None,
        }
    }

    /// The selector refers to the GDT.
    fn global(&self) -> Option<Violation> {
        bits_of(Subject::Field(self.names.selector), self.selector, 0, !TI)
    }
}

pub fn tr_ti(context: &Context<'_>) -> Option<Violation> {
    context.segments.tr().global()
}

pub fn ldtr_ti(context: &Context<'_>) -> Option<Violation> {
    let ldtr = context.segments.ldtr();
    match ldtr.is_usable() {
        true => ldtr.global(),
        false => None,
    }
}

pub fn ss_rpl(context: &Context<'_>) -> Option<Violation> {
    if context.virtual_8086() || context.unrestricted() {
        return None;
    }
    let rpl = context.segments.cs().rpl().into();
    let ss = context.segments.ss();
    (ss.selector & 3 != rpl).then(|| {
        Violation::field(
            ss.names.selector,
            ss.selector,
            Allowed::Bits {
                must_be_1: rpl,
                may_be_1: !3 | rpl,
            },
        )
    })
}

/// The first segment for which `broken` says something, in virtual-8086 mode.
fn in_virtual_8086(
    context: &Context<'_>,
    broken: impl Fn(&Segment) -> Option<Violation>,
) -> Option<Violation> {
    match context.virtual_8086() {
        true => context.segments.code_and_data().iter().find_map(broken),
        false => None,
    }
}

/// The value must be just this.
fn exactly(field: Field, value: u64, expected: u64) -> Option<Violation> {
    (value != expected).then(|| Violation::field(field, value, Allowed::Exactly(expected)))
}

pub fn virtual_8086_base(context: &Context<'_>) -> Option<Violation> {
    in_virtual_8086(context, |segment| {
        exactly(segment.names.base, segment.base, segment.selector << 4)
    })
}

pub fn virtual_8086_limit(context: &Context<'_>) -> Option<Violation> {
    in_virtual_8086(context, |segment| {
        exactly(segment.names.limit, segment.limit, 0xffff)
    })
}

pub fn virtual_8086_rights(context: &Context<'_>) -> Option<Violation> {
    in_virtual_8086(context, |segment| {
        exactly(segment.names.rights, segment.rights.0.into(), 0xf3)
    })
}

pub fn base_canonical(context: &Context<'_>) -> Option<Violation> {
    let [_, _, _, _, fs, gs, tr, ldtr] = &context.segments.0;
    let width = context.linear_width;
    let canonical = |segment: &Segment| {
        (!is_canonical(segment.base, width))
            .then(|| Violation::field(segment.names.base, segment.base, Allowed::Canonical(width)))
    };
    [tr, fs, gs]
        .into_iter()
        .find_map(canonical)
        .or_else(|| match ldtr.is_usable() {
            true => canonical(ldtr),
            false => None,
        })
}

pub fn base_high(context: &Context<'_>) -> Option<Violation> {
    let [cs, ss, ds, es, ..] = &context.segments.0;
    let low = |segment: &Segment| {
        bits_of(
            Subject::Field(segment.names.base),
            segment.base,
            0,
            0xffff_ffff,
        )
    };
    low(cs).or_else(|| {
        [ss, ds, es]
            .into_iter()
            .filter(|segment| segment.is_usable())
            .find_map(low)
    })
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
        false => context.segments.cs().type_in(types, 11),
    }
}

pub fn ss_type(context: &Context<'_>) -> Option<Violation> {
    let ss = context.segments.ss();
    match !context.virtual_8086() && ss.is_usable() {
        true => ss.type_in(WRITABLE | WRITABLE_DOWN, 3),
        false => None,
    }
}

pub fn data_type(context: &Context<'_>) -> Option<Violation> {
    if context.virtual_8086() {
        return None;
    }
    context
        .segments
        .data()
        .iter()
        .filter(|segment| segment.is_usable())
        .find_map(|segment| segment.type_in(READABLE, 3))
}

/// The first of CS and of those data segments that are usable for which `broken` says something,
/// outside virtual-8086 mode.
fn in_checked(
    context: &Context<'_>,
    broken: impl Fn(&Segment) -> Option<Violation>,
) -> Option<Violation> {
    if context.virtual_8086() {
        return None;
    }
    let (cs, data) = context.segments.code_and_data().split_first()?;
    broken(cs).or_else(|| {
        data.iter()
            .filter(|segment| segment.is_usable())
            .find_map(broken)
    })
}

pub fn s_bit(context: &Context<'_>) -> Option<Violation> {
    in_checked(context, |segment| segment.rights_part(Rights::S, Rights::S))
}

const fn dpl_bits(dpl: u32) -> u64 {
    (dpl as u64) << 5
}

pub fn cs_dpl(context: &Context<'_>) -> Option<Violation> {
    if context.virtual_8086() {
        return None;
    }
    let cs = context.segments.cs();
    let ss = context.segments.ss().rights.dpl();
    match cs.rights.kind() {
        3 => cs.rights_part(Rights::DPL, 0),
        9 | 11 => cs.rights_part(Rights::DPL, dpl_bits(ss)),
        13 | 15 if cs.rights.dpl() > ss => cs.rights_part(Rights::DPL, dpl_bits(ss)),
        _ => None,
    }
}

pub fn ss_dpl(context: &Context<'_>) -> Option<Violation> {
    if context.virtual_8086() {
        return None;
    }
    let ss = context.segments.ss();
    let by_rpl = match context.unrestricted() {
        true => None,
        false => ss.rights_part(Rights::DPL, dpl_bits(ss.rpl())),
    };
    by_rpl.or_else(|| {
        let zero = context.segments.cs().rights.kind() == 3 || !context.protected_mode();
        match zero {
            true => ss.rights_part(Rights::DPL, 0),
            false => None,
        }
    })
}

pub fn data_dpl(context: &Context<'_>) -> Option<Violation> {
    if context.virtual_8086() || context.unrestricted() {
        return None;
    }
    context
        .segments
        .data()
        .iter()
        .filter(|segment| segment.is_usable())
        .find_map(|segment| {
            let rpl = segment.rpl();
            // Conforming code (12 to 15) is exempt.
            match segment.rights.kind() <= 11 && segment.rights.dpl() < rpl {
                true => segment.rights_part(Rights::DPL, dpl_bits(rpl)),
                false => None,
            }
        })
}

pub fn p_bit(context: &Context<'_>) -> Option<Violation> {
    in_checked(context, |segment| segment.rights_part(Rights::P, Rights::P))
}

pub fn rights_reserved(context: &Context<'_>) -> Option<Violation> {
    in_checked(context, |segment| segment.rights_part(Rights::RESERVED, 0))
}

pub fn cs_db_l(context: &Context<'_>) -> Option<Violation> {
    let cs = context.segments.cs();
    let is_checked = !context.virtual_8086() && context.ia32e_guest() && cs.rights.is_64_bit_code();
    match is_checked {
        true => cs.rights_part(Rights::DB, 0),
        false => None,
    }
}

pub fn granularity(context: &Context<'_>) -> Option<Violation> {
    in_checked(context, |segment| segment.granularity())
}

/// What TR and LDTR share: a present system descriptor.
fn system(segment: &Segment, types: u16, example: u64) -> Option<Violation> {
    segment
        .type_in(types, example)
        .or_else(|| segment.rights_part(Rights::S, 0))
        .or_else(|| segment.rights_part(Rights::P, Rights::P))
        .or_else(|| segment.rights_part(Rights::RESERVED, 0))
        .or_else(|| segment.granularity())
}

pub fn tr(context: &Context<'_>) -> Option<Violation> {
    // A busy 32- or 64-bit TSS; outside IA-32e mode a busy 16-bit one, too.
    let types = match context.ia32e_guest() {
        true => 1 << 11,
        false => 1 << 11 | 1 << 3,
    };
    let tr = context.segments.tr();
    system(tr, types, 11).or_else(|| tr.rights_part(Rights::UNUSABLE, 0))
}

pub fn ldtr(context: &Context<'_>) -> Option<Violation> {
    let ldtr = context.segments.ldtr();
    match ldtr.is_usable() {
        true => system(ldtr, 1 << 2, 2),
        false => None,
    }
}
