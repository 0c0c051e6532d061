// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The host-state area (SDM volume 3, sections 28.2.2 to 28.2.4).

use super::super::registers::memory_types;
use super::Filler;
use super::fred::SPEC_CTRL;
use crate::controls::{ExitControls as Exit, SecondaryExitControls as SecondaryExit};
use crate::registers::{cr0, cr4, efer};
use crate::vmcs::Field;

impl Filler<'_, '_, '_> {
    pub(super) fn fill_host(&mut self) {
        let is_64_bit = self.settled.host_is_64_bit;
        self.fill_host_control_registers(is_64_bit);
        self.fill_host_msrs(is_64_bit);
        for field in [
            Field::HostEsSelector,
            Field::HostDsSelector,
            Field::HostFsSelector,
            Field::HostGsSelector,
        ] {
            let selector = self.dice.bits() & 0xfff8;
            self.set(field, selector);
        }
        for field in [Field::HostCsSelector, Field::HostTrSelector] {
            let selector = self.dice.bits() & 0xfff8;
            self.set(field, selector.max(8));
        }
        let least = if is_64_bit { 0 } else { 8 };
        let stack = self.dice.bits() & 0xfff8;
        self.set(Field::HostSsSelector, stack.max(least));
        for field in [
            Field::HostFsBase,
            Field::HostGsBase,
            Field::HostTrBase,
            Field::HostGdtrBase,
            Field::HostIdtrBase,
        ] {
            let base = self.canonical();
            self.set(field, base);
        }
        let width = self
            .capabilities
            .processor
            .linear_address_width(self.vmcs.host_cr4());
        let rip = match is_64_bit {
            true => self.dice.canonical(width),
            false => self.dice.bits() & 0xffff_ffff,
        };
        self.set(Field::HostRip, rip);
    }

    fn fill_host_control_registers(&mut self, is_64_bit: bool) {
        let (set, clear) = match is_64_bit {
            true => (cr4::PAE, 0),
            false => (0, cr4::PCIDE | cr4::LA57),
        };
        let register = self.cr4(set, clear);
        let mut cr0 = self.cr0(cr0::PE | cr0::PG);
        if register & cr4::CET != 0 {
            cr0 |= cr0::WP;
        }
        self.set(Field::HostCr0, cr0);
        self.set(Field::HostCr4, register);
        let cr3 = self.cr3(is_64_bit);
        self.set(Field::HostCr3, cr3);
    }

    fn fill_host_msrs(&mut self, is_64_bit: bool) {
        for field in [Field::HostIa32SysenterEsp, Field::HostIa32SysenterEip] {
            let address = self.canonical();
            self.set(field, address);
        }
        if self.exit(Exit::LOAD_PAT) {
            let pat = memory_types(self.dice.bits());
            self.set(Field::HostIa32Pat, pat);
        }
        if self.exit(Exit::LOAD_PERF_GLOBAL_CTRL) {
            let bits = self.dice.bits() & self.capabilities.processor.perf_global_ctrl;
            self.set(Field::HostIa32PerfGlobalCtrl, bits);
        }
        if self.exit(Exit::LOAD_EFER) {
            let mode = if is_64_bit { efer::LME | efer::LMA } else { 0 };
            let bits = self.efer(mode);
            self.set(Field::HostIa32Efer, bits);
        }
        if self.exit(Exit::LOAD_CET) {
            let table = Field::HostIntrSspTable;
            self.fill_cet(Field::HostSCet, Field::HostSsp, table, is_64_bit);
        }
        if self.exit(Exit::LOAD_PKRS) {
            let keys = self.dice.bits() & 0xffff_ffff;
            self.set(Field::HostIa32Pkrs, keys);
        }
        if self.secondary_exit(SecondaryExit::LOAD_SPEC_CTRL) {
            let bits = self.dice.bits() & SPEC_CTRL;
            self.set(Field::HostIa32SpecCtrl, bits);
        }
        if self.secondary_exit(SecondaryExit::LOAD_FRED) {
            self.fill_fred(&FRED);
        }
    }
}

/// The state of FRED.
const FRED: [Field; 8] = [
    Field::HostIa32FredConfig,
    Field::HostIa32FredRsp1,
    Field::HostIa32FredRsp2,
    Field::HostIa32FredRsp3,
    Field::HostIa32FredStackLevels,
    Field::HostIa32FredSsp1,
    Field::HostIa32FredSsp2,
    Field::HostIa32FredSsp3,
];
