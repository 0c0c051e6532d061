// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Host state (SDM volume 3, sections 28.2.2 to 28.2.4).

use super::super::spoiler::when;
use super::{Recipe, recipe, spoil};
use crate::check::Rule;
use crate::controls::{ExitControls as Exit, SecondaryExitControls as SecondaryExit};
use crate::registers::{cr0, cr4, efer};
use crate::vmcs::Field;

const SELECTORS: [Field; 7] = [
    Field::HostCsSelector,
    Field::HostSsSelector,
    Field::HostDsSelector,
    Field::HostEsSelector,
    Field::HostFsSelector,
    Field::HostGsSelector,
    Field::HostTrSelector,
];

const BASES: [Field; 5] = [
    Field::HostFsBase,
    Field::HostGsBase,
    Field::HostTrBase,
    Field::HostGdtrBase,
    Field::HostIdtrBase,
];

/// Configuration, stack pointers, shadow-stack pointers.
const FRED: [Field; 7] = [
    Field::HostIa32FredConfig,
    Field::HostIa32FredRsp1,
    Field::HostIa32FredRsp2,
    Field::HostIa32FredRsp3,
    Field::HostIa32FredSsp1,
    Field::HostIa32FredSsp2,
    Field::HostIa32FredSsp3,
];

pub(super) const RECIPES: &[Recipe] = &[
    recipe!(HostCr0, |_| {}, |s| spoil::cr0(s, Field::HostCr0)),
    recipe!(HostCr4, |_| {}, |s| spoil::cr4(s, Field::HostCr4)),
    recipe!(HostCetWp, |p| p.cr4.0 |= cr4::CET, |s| {
        when(s.vmcs().host_cr4() & cr4::CET != 0)?;
        when(s.capabilities().cr0_fixed0 & cr0::WP == 0)?;
        s.remove(Field::HostCr0, cr0::WP);
        Some(())
    }),
    recipe!(HostCr3, |_| {}, |s| s.set_beyond(Field::HostCr3)),
    recipe!(HostSysenter, |_| {}, |s| {
        s.uncanonize(&[Field::HostIa32SysenterEsp, Field::HostIa32SysenterEip])
    }),
    recipe!(HostPat, |p| p.on.insert(Exit::LOAD_PAT), |s| {
        when(s.exit(Exit::LOAD_PAT))?;
        spoil::pat(s, Field::HostIa32Pat)
    }),
    recipe!(
        HostPerfGlobalCtrl,
        |p| p.on.insert(Exit::LOAD_PERF_GLOBAL_CTRL),
        |s| {
            when(s.exit(Exit::LOAD_PERF_GLOBAL_CTRL))?;
            let reserved = !s.capabilities().processor.perf_global_ctrl;
            s.set_one(Field::HostIa32PerfGlobalCtrl, reserved)
        }
    ),
    recipe!(HostEfer, |p| p.on.insert(Exit::LOAD_EFER), |s| {
        when(s.exit(Exit::LOAD_EFER))?;
        let reserved = !s.capabilities().processor.efer;
        match s.dice.once_in(2) {
            true => s.flip_one(Field::HostIa32Efer, efer::LMA | efer::LME),
            false => s.set_one(Field::HostIa32Efer, reserved),
        }
    }),
    recipe!(HostCet, |p| p.on.insert(Exit::LOAD_CET), |s| {
        when(s.exit(Exit::LOAD_CET))?;
        let table = Field::HostIntrSspTable;
        spoil::cet(s, Field::HostSCet, Field::HostSsp, table)
    }),
    recipe!(HostPkrs, |p| p.on.insert(Exit::LOAD_PKRS), |s| {
        when(s.exit(Exit::LOAD_PKRS))?;
        s.set_one(Field::HostIa32Pkrs, 0xffff_ffff << 32)
    }),
    recipe!(HostFred, |p| p.on.insert(SecondaryExit::LOAD_FRED), |s| {
        when(s.secondary_exit(SecondaryExit::LOAD_FRED))?;
        spoil::fred(s, &FRED)
    }),
    recipe!(
        HostSpecCtrl,
        |p| p.on.insert(SecondaryExit::LOAD_SPEC_CTRL),
        |s| {
            when(s.secondary_exit(SecondaryExit::LOAD_SPEC_CTRL))?;
            s.set_one(Field::HostIa32SpecCtrl, spoil::SPEC_CTRL_RESERVED)
        }
    ),
    recipe!(HostSelectorRpl, |_| {}, |s| {
        let field = s.pick(&SELECTORS)?;
        s.set_one(field, 7)
    }),
    recipe!(HostCsTr, |_| {}, |s| {
        let field = s.pick(&[Field::HostCsSelector, Field::HostTrSelector])?;
        s.set(field, 0u64);
        Some(())
    }),
    recipe!(HostSs, |p| p.host_is_64_bit = Some(false), |s| {
        when(!s.exit(Exit::HOST_ADDRESS_SPACE_SIZE))?;
        s.set(Field::HostSsSelector, 0u64);
        Some(())
    }),
    recipe!(HostBases, |_| {}, |s| s.uncanonize(&BASES)),
    recipe!(HostSizeLma, |p| p.host_is_64_bit = Some(false), |s| {
        // The other way round, IA-32e mode would be left: see the rule for that.
        when(!s.exit(Exit::HOST_ADDRESS_SPACE_SIZE))?;
        s.scenario.l1.efer |= efer::LMA | efer::LME;
        Some(())
    }),
    recipe!(HostSize0, |p| p.host_is_64_bit = Some(false), |s| {
        when(!s.exit(Exit::HOST_ADDRESS_SPACE_SIZE))?;
        let only_64_bit = s.capabilities().cr4_fixed1 & (cr4::PCIDE | cr4::FRED);
        if only_64_bit != 0 && s.dice.once_in(3) {
            return s.set_one(Field::HostCr4, only_64_bit);
        }
        s.set_one(Field::HostRip, 0xffff_ffff << 32)
    }),
    recipe!(HostSize1, |p| p.host_is_64_bit = Some(true), |s| {
        when(s.exit(Exit::HOST_ADDRESS_SPACE_SIZE))?;
        if s.capabilities().cr4_fixed0 & cr4::PAE == 0 && s.dice.once_in(2) {
            s.remove(Field::HostCr4, cr4::PAE);
            return Some(());
        }
        let processor = s.capabilities().processor;
        let width = processor.linear_address_width(s.vmcs().host_cr4());
        let rip = s.dice.not_canonical(width);
        s.set(Field::HostRip, rip);
        Some(())
    }),
    recipe!(Ia32eLma, |p| p.host_is_64_bit = Some(true), |s| {
        when(s.exit(Exit::HOST_ADDRESS_SPACE_SIZE))?;
        s.scenario.l1.efer &= !(efer::LMA | efer::LME);
        Some(())
    }),
];
