// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Segment registers of the guest (SDM volume 3, section 28.3.1.2).

use super::super::mode::Mode;
use super::Filler;
use crate::vmcs::Field;

/// The fields of a segment register.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Segment {
    pub(in super::super) selector: Field,
    pub(in super::super) base: Field,
    pub(in super::super) limit: Field,
    pub(in super::super) rights: Field,
}

macro_rules! segments {
    ($($name:ident: $selector:ident $base:ident $limit:ident $rights:ident;)*) => {
        impl Segment {
            $(
                pub(in super::super) const $name: Self = Self {
                    selector: Field::$selector,
                    base: Field::$base,
                    limit: Field::$limit,
                    rights: Field::$rights,
                };
            )*
        }
    };
}

segments! {
    CS: GuestCsSelector GuestCsBase GuestCsLimit GuestCsArBytes;
    SS: GuestSsSelector GuestSsBase GuestSsLimit GuestSsArBytes;
    DS: GuestDsSelector GuestDsBase GuestDsLimit GuestDsArBytes;
    ES: GuestEsSelector GuestEsBase GuestEsLimit GuestEsArBytes;
    FS: GuestFsSelector GuestFsBase GuestFsLimit GuestFsArBytes;
    GS: GuestGsSelector GuestGsBase GuestGsLimit GuestGsArBytes;
    LDTR: GuestLdtrSelector GuestLdtrBase GuestLdtrLimit GuestLdtrArBytes;
    TR: GuestTrSelector GuestTrBase GuestTrLimit GuestTrArBytes;
}

impl Segment {
    /// DS, ES, FS and GS.
    pub(in super::super) const DATA: [Self; 4] = [Self::DS, Self::ES, Self::FS, Self::GS];
    /// CS, SS and these.
    pub(in super::super) const CODE_AND_DATA: [Self; 6] =
        [Self::CS, Self::SS, Self::DS, Self::ES, Self::FS, Self::GS];
}

/// Bits of an access-rights field (SDM volume 3, table 26-2).
pub(in super::super) mod rights {
    /// S: not a system segment.
    pub(in super::super::super) const S: u64 = 1 << 4;
    /// The privilege level.
    pub(in super::super::super) const DPL: u64 = 3 << 5;
    /// Present.
    pub(in super::super::super) const P: u64 = 1 << 7;
    /// Available to software.
    pub(in super::super::super) const AVL: u64 = 1 << 12;
    /// 64-bit code.
    pub(in super::super::super) const L: u64 = 1 << 13;
    /// 32-bit code or stack.
    pub(in super::super::super) const DB: u64 = 1 << 14;
    /// The limit counts pages.
    pub(in super::super::super) const G: u64 = 1 << 15;
    /// Not usable.
    pub(in super::super::super) const UNUSABLE: u64 = 1 << 16;
}

/// Types of data and code that DS to GS can have: accessed, and readable.
const DATA_TYPES: [u64; 6] = [3, 1, 5, 7, 11, 15];
/// Accessed code: not conforming, conforming.
const CODE_TYPES: [u64; 4] = [11, 9, 13, 15];
/// Accessed data that an unrestricted guest can have in CS.
const CS_DATA: u64 = 3;

impl Filler<'_, '_, '_> {
    pub(super) fn fill_segments(&mut self) {
        self.fill_system_segments();
        if self.settled.mode.is_virtual_8086() {
            for segment in Segment::CODE_AND_DATA {
                let selector = self.dice.bits() & 0xffff;
                self.set(segment.selector, selector);
                self.set(segment.base, selector << 4);
                self.set(segment.limit, 0xffffu64);
                self.set(segment.rights, 0xf3u64);
            }
            return;
        }
        self.fill_code_and_stack();
        for segment in Segment::DATA {
            self.fill_data(segment);
        }
    }

    fn fill_code_and_stack(&mut self) {
        let privilege = u64::from(self.settled.privilege);
        let code_type = match self.plan.cs_is_data {
            Some(true) => CS_DATA,
            None if self.settled.unrestricted && privilege == 0 && self.dice.once_in(4) => CS_DATA,
            _ => self.dice.one_of(&CODE_TYPES, 11),
        };
        let code_privilege = match code_type {
            CS_DATA => 0,
            // Conforming code runs with the privilege of its caller.
            13 | 15 => self.dice.below(privilege + 1),
            _ => privilege,
        };
        let width = match self.settled.mode {
            Mode::Long => rights::L,
            _ => self.dice.below(2) * rights::DB,
        };
        let base = self.dice.bits() & 0xffff_ffff;
        let bits = code_type | rights::S | code_privilege << 5 | width;
        self.fill_usable(Segment::CS, base, bits);

        // The requested privilege levels are that of SS, and only an unrestricted guest may have
        // others.
        let mut selectors = [self.dice.bits() & 0xfffc, self.dice.bits() & 0xfffc];
        for selector in &mut selectors {
            *selector |= match self.settled.unrestricted {
                true => self.dice.below(4),
                false => privilege,
            };
        }
        let [code, stack] = selectors;
        self.set(Segment::CS.selector, code);
        self.set(Segment::SS.selector, stack);

        let usable = self.is_usable();
        let base = self.dice.bits() & 0xffff_ffff;
        let stack_type = self.dice.one_of(&[3, 7], 3);
        let db = self.dice.below(2) * rights::DB;
        let bits = stack_type | rights::S | privilege << 5 | db;
        self.fill_usable(Segment::SS, base, bits);
        if !usable {
            // Its privilege level still counts.
            let others = self.dice.bits() & !rights::DPL;
            let bits = rights::UNUSABLE | privilege << 5 | others & 0xffff_ffff;
            self.set(Segment::SS.rights, bits);
            let base = self.dice.bits();
            self.set(Segment::SS.base, base);
        }
    }

    fn is_usable(&mut self) -> bool {
        match self.plan.segments_usable {
            Some(wanted) => wanted,
            None => !self.dice.once_in(4),
        }
    }

    fn fill_data(&mut self, segment: Segment) {
        let is_wide = segment.base == Segment::FS.base || segment.base == Segment::GS.base;
        let selector = self.dice.bits() & 0xffff;
        self.set(segment.selector, selector);
        if !self.is_usable() {
            let bits = self.dice.bits() & 0xffff_ffff;
            self.set(segment.rights, bits | rights::UNUSABLE);
            let base = match is_wide {
                true => self.canonical(),
                false => self.dice.bits(),
            };
            return self.set(segment.base, base);
        }
        let requested = selector & 3;
        let kind = self.dice.one_of(&DATA_TYPES, 3);
        // Conforming code can be read by everybody.
        let least = match kind {
            _ if self.settled.unrestricted => 0,
            12..=15 => 0,
            _ => requested,
        };
        let privilege = least + self.dice.below(4 - least);
        let base = match is_wide {
            true => self.canonical(),
            false => self.dice.bits() & 0xffff_ffff,
        };
        let db = self.dice.below(2) * rights::DB;
        let bits = kind | rights::S | privilege << 5 | db;
        self.fill_usable(segment, base, bits);
    }

    fn fill_system_segments(&mut self) {
        // A busy TSS: 32-bit (or 64-bit), or 16-bit.
        let kind = match self.settled.mode.is_ia32e() {
            true => 11,
            false => self.dice.one_of(&[11, 3], 11),
        };
        for (segment, kind) in [(Segment::TR, kind), (Segment::LDTR, 2)] {
            // TI = 0.
            let selector = self.dice.bits() & 0xfffb;
            self.set(segment.selector, selector);
            let base = self.canonical();
            let privilege = self.dice.below(4) << 5;
            self.fill_usable(segment, base, kind | privilege);
        }
        if !self.is_usable() {
            let bits = self.dice.bits() & 0xffff_ffff;
            self.set(Segment::LDTR.rights, bits | rights::UNUSABLE);
            let [selector, base] = [self.dice.bits(), self.dice.bits()];
            self.set(Segment::LDTR.selector, selector);
            self.set(Segment::LDTR.base, base);
        }
    }

    /// A present segment, with a limit that its granularity can have.
    fn fill_usable(&mut self, segment: Segment, base: u64, bits: u64) {
        let number = self.dice.bits();
        let (limit, granularity) = match self.dice.below(3) {
            0 => (number << 12 & 0xffff_f000 | 0xfff, rights::G),
            1 => (number & 0xf_ffff, 0),
            _ => (number << 12 & 0xf_f000 | 0xfff, rights::G),
        };
        let available = self.dice.below(2) * rights::AVL;
        self.set(segment.base, base);
        self.set(segment.limit, limit);
        self.set(segment.rights, bits | rights::P | granularity | available);
    }
}
