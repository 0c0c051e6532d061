// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guest registers other than segment registers, and the page-directory-pointer table (SDM volume
//! 3, sections 28.3.1.1, 28.3.1.3, 28.3.1.4 and 28.3.1.6).

use super::super::fill::{PDPTRS, Segment};
use super::super::mode::Mode;
use super::super::plan::Injection;
use super::super::spoiler::when;
use super::{Recipe, recipe, spoil};
use crate::check::Rule;
use crate::controls::{EntryControls as Entry, SecondaryControls as Secondary};
use crate::memory::L1Memory;
use crate::registers::{activity, cr0, cr4, efer, rflags};
use crate::vmcs::Field;

/// Configuration, stack pointers, shadow-stack pointers.
const FRED: [Field; 7] = [
    Field::GuestIa32FredConfig,
    Field::GuestIa32FredRsp1,
    Field::GuestIa32FredRsp2,
    Field::GuestIa32FredRsp3,
    Field::GuestIa32FredSsp1,
    Field::GuestIa32FredSsp2,
    Field::GuestIa32FredSsp3,
];

/// Reserved bits of IA32_RTIT_CTL (SDM volume 3, section 35.2.8.2).
const RTIT_CTL_RESERVED: u64 = 1 << 18 | 1 << 23 | 7 << 28 | 0x7f << 48 | 0x7f << 57;

pub(super) const RECIPES: &[Recipe] = &[
    recipe!(GuestCr0, |_| {}, |s| spoil::cr0(s, Field::GuestCr0)),
    recipe!(
        GuestPaging,
        |p| {
            p.mode = Some(Mode::Real);
            p.cr4.1 |= cr4::PAE;
        },
        |s| {
            when(!s.is_protected() && s.vmcs().guest_cr4() & cr4::PAE == 0)?;
            s.insert(Field::GuestCr0, cr0::PG);
            // With paging, IA-32e mode would be enabled and not active.
            if s.entry(Entry::LOAD_EFER) {
                s.remove(Field::GuestIa32Efer, efer::LME);
            }
            Some(())
        }
    ),
    recipe!(GuestCr4, |_| {}, |s| spoil::cr4(s, Field::GuestCr4)),
    recipe!(GuestCetWp, |p| p.cr4.0 |= cr4::CET, |s| {
        when(s.vmcs().guest_cr4() & cr4::CET != 0)?;
        when(s.capabilities().cr0_fixed0 & cr0::WP == 0)?;
        s.remove(Field::GuestCr0, cr0::WP);
        Some(())
    }),
    recipe!(
        GuestDebugctl,
        |p| p.on.insert(Entry::LOAD_DEBUG_CONTROLS),
        |s| {
            when(s.entry(Entry::LOAD_DEBUG_CONTROLS))?;
            let reserved = !s.capabilities().processor.debugctl;
            match s.dice.once_in(2) {
                // BTF counts elsewhere.
                true => s.set_one(Field::GuestIa32Debugctl, reserved & !2),
                false => s.set_one(Field::GuestDr7, 0xffff_ffff << 32),
            }
        }
    ),
    recipe!(GuestIa32e, |p| p.on.insert(Entry::IA32E_MODE_GUEST), |s| {
        when(s.is_ia32e())?;
        when(s.capabilities().cr4_fixed0 & cr4::PAE == 0)?;
        s.remove(Field::GuestCr4, cr4::PAE);
        Some(())
    }),
    recipe!(GuestPcide, |p| p.off.insert(Entry::IA32E_MODE_GUEST), |s| {
        when(!s.is_ia32e() && s.capabilities().cr4_fixed1 & cr4::PCIDE != 0)?;
        s.insert(Field::GuestCr4, cr4::PCIDE);
        Some(())
    }),
    recipe!(GuestCr3, |_| {}, |s| { s.set_beyond(Field::GuestCr3) }),
    recipe!(GuestSysenter, |_| {}, |s| {
        s.uncanonize(&[Field::GuestSysenterEsp, Field::GuestSysenterEip])
    }),
    recipe!(
        GuestPerfGlobalCtrl,
        |p| p.on.insert(Entry::LOAD_PERF_GLOBAL_CTRL),
        |s| {
            when(s.entry(Entry::LOAD_PERF_GLOBAL_CTRL))?;
            let reserved = !s.capabilities().processor.perf_global_ctrl;
            s.set_one(Field::GuestIa32PerfGlobalCtrl, reserved)
        }
    ),
    recipe!(GuestPat, |p| p.on.insert(Entry::LOAD_PAT), |s| {
        when(s.entry(Entry::LOAD_PAT))?;
        spoil::pat(s, Field::GuestIa32Pat)
    }),
    recipe!(GuestEfer, |p| p.on.insert(Entry::LOAD_EFER), |s| {
        when(s.entry(Entry::LOAD_EFER))?;
        let reserved = !s.capabilities().processor.efer;
        match s.dice.once_in(2) {
            true => s.flip_one(Field::GuestIa32Efer, efer::LMA),
            false => s.set_one(Field::GuestIa32Efer, reserved),
        }
    }),
    recipe!(GuestBndcfgs, |p| p.on.insert(Entry::LOAD_BNDCFGS), |s| {
        when(s.entry(Entry::LOAD_BNDCFGS))?;
        match s.dice.once_in(2) {
            true => s.set_one(Field::GuestBndcfgs, 0xffc),
            false => {
                let width = s.linear_width();
                let address = s.dice.not_canonical(width);
                s.set(Field::GuestBndcfgs, address & !0xffc);
                Some(())
            }
        }
    }),
    recipe!(GuestCet, |p| p.on.insert(Entry::LOAD_CET), |s| {
        when(s.entry(Entry::LOAD_CET))?;
        let table = Field::GuestIntrSspTable;
        spoil::cet(s, Field::GuestSCet, Field::GuestSsp, table)
    }),
    recipe!(GuestRtitCtl, |p| p.on.insert(Entry::LOAD_RTIT_CTL), |s| {
        when(s.entry(Entry::LOAD_RTIT_CTL))?;
        s.set_one(Field::GuestIa32RtitCtl, RTIT_CTL_RESERVED)
    }),
    recipe!(GuestLbrCtl, |p| p.on.insert(Entry::LOAD_LBR_CTL), |s| {
        when(s.entry(Entry::LOAD_LBR_CTL))?;
        s.set_one(Field::GuestIa32LbrCtl, !0x7f_000f)
    }),
    recipe!(GuestPkrs, |p| p.on.insert(Entry::LOAD_PKRS), |s| {
        when(s.entry(Entry::LOAD_PKRS))?;
        s.set_one(Field::GuestIa32Pkrs, 0xffff_ffff << 32)
    }),
    recipe!(GuestUinv, |p| p.on.insert(Entry::LOAD_UINV), |s| {
        when(s.entry(Entry::LOAD_UINV))?;
        s.set_one(Field::GuestUinv, 0xff00)
    }),
    recipe!(GuestFred, |p| p.on.insert(Entry::LOAD_FRED), |s| {
        when(s.entry(Entry::LOAD_FRED))?;
        if !s.is_ia32e() && s.capabilities().cr4_fixed1 & cr4::FRED != 0 && s.dice.once_in(2) {
            s.insert(Field::GuestCr4, cr4::FRED);
            return Some(());
        }
        spoil::fred(s, &FRED)
    }),
    recipe!(
        GuestFredPrivilege,
        |p| p.on.insert(Entry::IA32E_MODE_GUEST),
        |s| {
            when(s.is_ia32e() && s.capabilities().cr4_fixed1 & cr4::FRED != 0)?;
            s.insert(Field::GuestCr4, cr4::FRED);
            match s.privilege(Segment::SS) {
                // Compatibility code.
                0 => when(!s.is_64_bit_code()),
                3 => s.set_one(Field::GuestRflags, rflags::IOPL),
                _ => Some(()),
            }
        }
    ),
    recipe!(GuestSpecCtrl, |p| p.on.insert(Entry::LOAD_SPEC_CTRL), |s| {
        when(s.entry(Entry::LOAD_SPEC_CTRL))?;
        s.set_one(Field::GuestIa32SpecCtrl, spoil::SPEC_CTRL_RESERVED)
    }),
    recipe!(TableBase, |_| {}, |s| {
        s.uncanonize(&[Field::GuestGdtrBase, Field::GuestIdtrBase])
    }),
    recipe!(TableLimit, |_| {}, |s| {
        let field = s.pick(&[Field::GuestGdtrLimit, Field::GuestIdtrLimit])?;
        s.set_one(field, 0xffff_0000)
    }),
    recipe!(Rip, |_| {}, |s| match s.is_64_bit_code() {
        true => s.uncanonize(&[Field::GuestRip]),
        false => s.set_one(Field::GuestRip, 0xffff_ffff << 32),
    }),
    recipe!(Rflags, |_| {}, |s| match s.dice.once_in(8) {
        true => s.flip_one(Field::GuestRflags, rflags::RESERVED_1),
        false => s.set_one(Field::GuestRflags, !0x3f_ffff | 1 << 15 | 1 << 5 | 1 << 3),
    }),
    recipe!(
        RflagsVm,
        |p| {
            p.mode = Some(Mode::Compatibility);
            p.activity = Some(activity::ACTIVE);
        },
        |s| {
            when((s.is_ia32e() || !s.is_protected()) && s.is_active())?;
            s.insert(Field::GuestRflags, rflags::VM);
            // Segments as virtual-8086 mode has them: they are looked at as such.
            for segment in Segment::CODE_AND_DATA {
                let selector = s.read(segment.selector);
                s.set(segment.base, selector << 4);
                s.set(segment.limit, 0xffffu64);
                s.set(segment.rights, 0xf3u64);
            }
            // That is no 64-bit code.
            s.remove(Field::GuestRip, 0xffff_ffffu64 << 32);
            s.remove(Field::GuestSsp, 0xffff_ffffu64 << 32);
            Some(())
        }
    ),
    recipe!(
        RflagsIf,
        |p| p.injections = &[Injection::ExternalInterrupt],
        |s| {
            when(s.injected_type() == Some(0) && s.blocking() == 0)?;
            s.remove(Field::GuestRflags, rflags::IF);
            Some(())
        }
    ),
    recipe!(Pdptes, |p| p.mode = Some(Mode::Pae), |s| {
        when(s.has_pdptes())?;
        let reserved = 3 << 1 | 0xf << 5 | s.capabilities().processor.beyond_physical();
        let bit = s.dice.bit_of(reserved);
        let which = s.dice.below(4);
        if s.secondary(Secondary::ENABLE_EPT) {
            let field = PDPTRS.get(which as usize).copied()?;
            s.insert(field, bit | 1);
            return Some(());
        }
        let address = (s.vmcs().guest_cr3() & 0xffff_ffe0) + which * 8;
        let entry = s.scenario.memory.read_u64(address).ok()?;
        when(s.scenario.memory.set_word(address, entry | bit | 1))
    }),
];
