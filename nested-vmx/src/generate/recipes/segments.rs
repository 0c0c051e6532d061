// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guest segment registers (SDM volume 3, section 28.3.1.2).

use super::super::fill::{Segment, rights};
use super::super::mode::Mode;
use super::super::spoiler::{Spoiler, when};
use super::{Recipe, recipe};
use crate::check::Rule;
use crate::controls::SecondaryControls as Secondary;
use crate::registers::activity;

/// Reserved bits of access rights: 11:8 and 31:17.
const RESERVED: u64 = 0xf << 8 | 0xfffe << 16;

pub(super) const RECIPES: &[Recipe] = &[
    recipe!(TrTi, |_| {}, |s| s.set_one(Segment::TR.selector, 4)),
    recipe!(LdtrTi, |p| p.segments_usable = Some(true), |s| {
        when(s.is_usable(Segment::LDTR))?;
        s.set_one(Segment::LDTR.selector, 4)
    }),
    recipe!(
        SsRpl,
        |p| p.off.insert(Secondary::UNRESTRICTED_GUEST),
        |s| {
            when(!s.is_virtual_8086() && !s.is_unrestricted())?;
            s.flip_one(Segment::CS.selector, 3)
        }
    ),
    recipe!(Virtual8086Base, |p| p.mode = Some(Mode::Virtual8086), |s| {
        when(s.is_virtual_8086())?;
        let segment = s.pick(&Segment::CODE_AND_DATA)?;
        s.flip_one(segment.base, 0xffff_ffff)
    }),
    recipe!(
        Virtual8086Limit,
        |p| p.mode = Some(Mode::Virtual8086),
        |s| {
            when(s.is_virtual_8086())?;
            let segment = s.pick(&Segment::CODE_AND_DATA)?;
            s.flip_one(segment.limit, 0xf_ffff)
        }
    ),
    recipe!(
        Virtual8086Rights,
        |p| p.mode = Some(Mode::Virtual8086Pae),
        |s| {
            when(s.is_virtual_8086())?;
            let segment = s.pick(&Segment::CODE_AND_DATA)?;
            s.flip_one(segment.rights, rights::AVL | rights::DB)
        }
    ),
    recipe!(BaseCanonical, |p| p.segments_usable = Some(true), |s| {
        let segments = match s.is_virtual_8086() {
            true => [Segment::TR, Segment::TR, Segment::LDTR, Segment::LDTR],
            false => [Segment::TR, Segment::FS, Segment::GS, Segment::LDTR],
        };
        let segment = s.pick(&segments)?;
        when(segment.base != Segment::LDTR.base || s.is_usable(segment))?;
        s.uncanonize(&[segment.base])
    }),
    recipe!(BaseHigh, |p| p.segments_usable = Some(true), |s| {
        when(!s.is_virtual_8086())?;
        let segments = [Segment::CS, Segment::SS, Segment::DS, Segment::ES];
        let segment = s.usable(&segments)?;
        s.set_one(segment.base, 0xffff_ffff << 32)
    }),
    recipe!(CsType, |p| p.mode = Some(Mode::Pae), |s| {
        when(!s.is_virtual_8086())?;
        // Not 3, which other rules are about, too.
        let kind = s.pick(&[0, 1, 2, 4, 5, 6, 7, 8, 10, 12, 14])?;
        s.set_kind(Segment::CS, kind);
        Some(())
    }),
    recipe!(SsType, |p| p.segments_usable = Some(true), |s| {
        when(!s.is_virtual_8086() && s.is_usable(Segment::SS))?;
        let kind = s.pick(&[0, 1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15])?;
        s.set_kind(Segment::SS, kind);
        Some(())
    }),
    recipe!(DataType, |p| p.segments_usable = Some(true), |s| {
        when(!s.is_virtual_8086())?;
        let segment = s.usable(&Segment::DATA)?;
        // Not accessed, or code that cannot be read.
        let kind = s.pick(&[0, 2, 4, 6, 8, 10, 12, 14, 9, 13])?;
        s.set_kind(segment, kind);
        // Conforming code could have had less privilege than is asked for.
        s.set_privilege(segment, 3);
        Some(())
    }),
    recipe!(SBit, |p| p.segments_usable = Some(true), |s| {
        when(!s.is_virtual_8086())?;
        let segment = s.usable(&Segment::CODE_AND_DATA)?;
        s.remove(segment.rights, rights::S);
        Some(())
    }),
    recipe!(CsDpl, |_| {}, |s| {
        when(!s.is_virtual_8086())?;
        let stack = s.privilege(Segment::SS);
        let privilege = s.dice.below(4);
        when(match s.kind(Segment::CS) {
            3 => privilege != 0,
            9 | 11 => privilege != stack,
            _ => privilege > stack,
        })?;
        s.set_privilege(Segment::CS, privilege);
        Some(())
    }),
    recipe!(SsDpl, |_| {}, |s| {
        when(!s.is_virtual_8086())?;
        if !s.is_unrestricted() {
            // Other requested levels, the same for both.
            let other = s.read(Segment::SS.selector) ^ (1 + s.dice.below(3));
            s.set(Segment::SS.selector, other);
            s.remove(Segment::CS.selector, 3u64);
            s.insert(Segment::CS.selector, other & 3);
            return Some(());
        }
        let is_data = s.kind(Segment::CS) == 3;
        when(is_data || !s.is_protected())?;
        when(s.vmcs().guest_activity_state() != activity::HLT)?;
        let privilege = 1 + s.dice.below(3);
        s.set_privilege(Segment::SS, privilege);
        if !is_data {
            s.set_privilege(Segment::CS, privilege);
        }
        Some(())
    }),
    recipe!(
        DataDpl,
        |p| {
            p.off.insert(Secondary::UNRESTRICTED_GUEST);
            p.segments_usable = Some(true);
        },
        |s| {
            when(!s.is_virtual_8086() && !s.is_unrestricted())?;
            let segment = s.usable(&Segment::DATA)?;
            when(s.kind(segment) < 12)?;
            s.insert(segment.selector, 3u64);
            let privilege = s.dice.below(3);
            s.set_privilege(segment, privilege);
            Some(())
        }
    ),
    recipe!(PBit, |p| p.segments_usable = Some(true), |s| {
        when(!s.is_virtual_8086())?;
        let segment = s.usable(&Segment::CODE_AND_DATA)?;
        s.remove(segment.rights, rights::P);
        Some(())
    }),
    recipe!(RightsReserved, |p| p.segments_usable = Some(true), |s| {
        when(!s.is_virtual_8086())?;
        let segment = s.usable(&Segment::CODE_AND_DATA)?;
        s.set_one(segment.rights, RESERVED)
    }),
    recipe!(CsDbL, |p| p.mode = Some(Mode::Long), |s| {
        when(s.is_64_bit_code())?;
        s.insert(Segment::CS.rights, rights::DB);
        Some(())
    }),
    recipe!(Granularity, |p| p.segments_usable = Some(true), |s| {
        when(!s.is_virtual_8086())?;
        let segment = s.usable(&Segment::CODE_AND_DATA)?;
        ungranulate(s, segment)
    }),
    recipe!(Tr, |_| {}, |s| spoil_system(s, Segment::TR)),
    recipe!(Ldtr, |p| p.segments_usable = Some(true), |s| {
        when(s.is_usable(Segment::LDTR))?;
        spoil_system(s, Segment::LDTR)
    }),
];

/// A limit that its granularity cannot have.
fn ungranulate(s: &mut Spoiler<'_, '_, '_>, segment: Segment) -> Option<()> {
    if s.dice.once_in(2) {
        s.insert(segment.rights, rights::G);
        let some = s.dice.bits() & 0xfff | 1;
        s.remove(segment.limit, some);
    } else {
        s.remove(segment.rights, rights::G);
        let above = 1u64 << (20 + s.dice.below(12));
        s.insert(segment.limit, above);
    }
    Some(())
}

/// TR or LDTR, in one of the ways that its rule names.
fn spoil_system(s: &mut Spoiler<'_, '_, '_>, segment: Segment) -> Option<()> {
    match s.dice.below(6) {
        0 => {
            let others = match segment.base == Segment::TR.base {
                true => [0, 1, 2, 9],
                false => [0, 1, 3, 11],
            };
            let kind = s.pick(&others)?;
            s.set_kind(segment, kind);
        }
        1 => s.insert(segment.rights, rights::S),
        2 => s.remove(segment.rights, rights::P),
        3 => return s.set_one(segment.rights, RESERVED),
        // An unusable LDTR is fine.
        4 if segment.base == Segment::TR.base => s.insert(segment.rights, rights::UNUSABLE),
        _ => return ungranulate(s, segment),
    }
    Some(())
}
