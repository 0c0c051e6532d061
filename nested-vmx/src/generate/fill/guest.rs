// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Control registers, MSRs and flags of the guest (SDM volume 3, sections 28.3.1.1, 28.3.1.3,
//! 28.3.1.4 and 28.3.1.6).

use super::super::mode::Mode;
use super::super::plan::{Blocking, Injection};
use super::super::registers::memory_types;
use super::Filler;
use super::fred::SPEC_CTRL;
use crate::controls::{EntryControls as Entry, SecondaryControls as Secondary};
use crate::registers::{cr0, cr4, efer, rflags};
use crate::vmcs::Field;

/// RFLAGS without the bits that are always 0 or 1.
const RFLAGS: u64 = 0x3f_7fd5;

/// Bits of a present PDPTE that can be 1, addresses apart: P, PWT, PCD and ignored ones.
const PDPTE: u64 = 1 | 3 << 3 | 7 << 9;

/// Bits of IA32_RTIT_CTL that every Intel PT of now has: 17:0, 22:19, 27:24 and 47:32 (SDM volume 3,
/// section 35.2.8.2).
const RTIT_CTL: u64 = 0xffff_0f7b_ffff;

/// Bits of IA32_LBR_CTL: 3:0 and 22:16 (SDM volume 3, section 20.1.2).
const LBR_CTL: u64 = 0x7f_000f;

/// The state of FRED.
const FRED: [Field; 8] = [
    Field::GuestIa32FredConfig,
    Field::GuestIa32FredRsp1,
    Field::GuestIa32FredRsp2,
    Field::GuestIa32FredRsp3,
    Field::GuestIa32FredStackLevels,
    Field::GuestIa32FredSsp1,
    Field::GuestIa32FredSsp2,
    Field::GuestIa32FredSsp3,
];

/// The fields of the four PDPTEs.
pub(in super::super) const PDPTRS: [Field; 4] = [
    Field::GuestPdptr0,
    Field::GuestPdptr1,
    Field::GuestPdptr2,
    Field::GuestPdptr3,
];

impl Filler<'_, '_, '_> {
    pub(super) fn fill_guest(&mut self) {
        self.fill_guest_control_registers();
        self.fill_guest_msrs();
        for field in [Field::GuestGdtrBase, Field::GuestIdtrBase] {
            let base = self.canonical();
            self.set(field, base);
        }
        for field in [Field::GuestGdtrLimit, Field::GuestIdtrLimit] {
            let limit = self.dice.bits() & 0xffff;
            self.set(field, limit);
        }
        let rip = self.linear(self.settled.mode == Mode::Long);
        self.set(Field::GuestRip, rip);
        let flags = self.rflags();
        self.set(Field::GuestRflags, flags);
    }

    fn fill_guest_control_registers(&mut self) {
        let mode = self.settled.mode;
        let pae = if mode.has_pae() { cr4::PAE } else { 0 };
        let clear = match mode {
            Mode::Long | Mode::Compatibility => 0,
            Mode::Pae | Mode::Virtual8086Pae | Mode::Unpaged | Mode::Real => cr4::PCIDE | cr4::LA57,
            Mode::Paging32 | Mode::Virtual8086 => cr4::PAE | cr4::PCIDE | cr4::LA57,
        };
        let register = self.cr4(pae, clear);
        let mut cr0 = self.cr0(mode.cr0());
        if register & cr4::CET != 0 {
            cr0 |= cr0::WP;
        }
        self.set(Field::GuestCr0, cr0);
        self.set(Field::GuestCr4, register);
        match mode.has_pdptes() {
            true => self.fill_pdptes(),
            false => {
                let cr3 = self.cr3(mode.is_ia32e());
                self.set(Field::GuestCr3, cr3);
            }
        }
    }

    fn fill_pdptes(&mut self) {
        // The table is below 4 GiB, and all bits of CR3 but 31:5 are ignored.
        let page = self.page_within(0xffff_ffff);
        let table = page | self.dice.bits() & 0xfe0;
        let ignored = self.address(1) & !0xffff_ffe0;
        self.set(Field::GuestCr3, table | ignored);
        let in_memory = !self.secondary(Secondary::ENABLE_EPT);
        for (field, at) in PDPTRS.into_iter().zip((table..).step_by(8)) {
            let present = self.dice.once_in(2);
            let entry = match present {
                true => self.address(4096) | self.dice.bits() & PDPTE | 1,
                false => self.dice.bits() & !1,
            };
            if in_memory {
                self.memory.set_word(at, entry);
            } else {
                self.set(field, entry);
            }
        }
    }

    fn fill_guest_msrs(&mut self) {
        let mode = self.settled.mode;
        for field in [Field::GuestSysenterEsp, Field::GuestSysenterEip] {
            let address = self.canonical();
            self.set(field, address);
        }
        if self.entry(Entry::LOAD_DEBUG_CONTROLS) {
            let control = self.dice.bits() & self.capabilities.processor.debugctl;
            self.set(Field::GuestIa32Debugctl, control);
            let dr7 = self.dice.bits() & 0xffff_ffff;
            self.set(Field::GuestDr7, dr7);
        }
        if self.entry(Entry::LOAD_PERF_GLOBAL_CTRL) {
            let bits = self.dice.bits() & self.capabilities.processor.perf_global_ctrl;
            self.set(Field::GuestIa32PerfGlobalCtrl, bits);
        }
        if self.entry(Entry::LOAD_PAT) {
            let pat = memory_types(self.dice.bits());
            self.set(Field::GuestIa32Pat, pat);
        }
        if self.entry(Entry::LOAD_EFER) {
            let without_paging = mode.cr0() & cr0::PG == 0;
            let lme = self.capabilities.processor.efer & efer::LME;
            let bits = match mode.is_ia32e() {
                true => efer::LME | efer::LMA,
                false if without_paging && self.dice.once_in(2) => lme,
                false => 0,
            };
            let bits = self.efer(bits);
            self.set(Field::GuestIa32Efer, bits);
        }
        if self.entry(Entry::LOAD_BNDCFGS) {
            let bounds = self.canonical() & !0xffc;
            self.set(Field::GuestBndcfgs, bounds);
        }
        if self.entry(Entry::LOAD_CET) {
            let table = Field::GuestIntrSspTable;
            let is_64_bit = mode == Mode::Long;
            self.fill_cet(Field::GuestSCet, Field::GuestSsp, table, is_64_bit);
        }
        if self.entry(Entry::LOAD_PKRS) {
            let keys = self.dice.bits() & 0xffff_ffff;
            self.set(Field::GuestIa32Pkrs, keys);
        }
        if self.entry(Entry::LOAD_UINV) {
            let vector = u64::from(self.dice.byte());
            self.set(Field::GuestUinv, vector);
        }
        for (control, field, bits) in [
            (Entry::LOAD_RTIT_CTL, Field::GuestIa32RtitCtl, RTIT_CTL),
            (Entry::LOAD_LBR_CTL, Field::GuestIa32LbrCtl, LBR_CTL),
            (Entry::LOAD_SPEC_CTRL, Field::GuestIa32SpecCtrl, SPEC_CTRL),
        ] {
            if self.entry(control) {
                let value = self.dice.bits() & bits;
                self.set(field, value);
            }
        }
        if self.entry(Entry::LOAD_FRED) {
            self.fill_fred(&FRED);
        }
    }

    fn rflags(&mut self) -> u64 {
        let mut flags = self.dice.bits() & RFLAGS & !rflags::VM | rflags::RESERVED_1;
        if self.settled.mode.is_virtual_8086() {
            flags |= rflags::VM;
        }
        let choose = |flags: &mut u64, bit: u64, wanted: Option<bool>| match wanted {
            None => {}
            Some(true) => *flags |= bit,
            Some(false) => *flags &= !bit,
        };
        choose(&mut flags, rflags::TF, self.plan.trap_flag);
        choose(&mut flags, rflags::IF, self.plan.interrupts);
        let needs_interrupts = self.settled.blocking == Blocking::Sti
            || self.settled.injection == Injection::ExternalInterrupt;
        if needs_interrupts {
            flags |= rflags::IF;
        }
        flags
    }
}
