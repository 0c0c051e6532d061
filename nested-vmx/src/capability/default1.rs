// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The default1 class of controls: they were reserved to 1 before they, or some of them, became
//! controls (SDM volume 3, appendix A.2).
//!
//! The capability MSRs without TRUE report them as must-be-1, whatever the processor can; only the
//! TRUE ones tell which of them may be 0. That they may be 1 is reported always.

use super::{Capabilities, msr};

/// A control field with two capability MSRs.
pub(super) struct Pair {
    /// The MSR that every processor has.
    pub(super) basic: u32,
    /// The one that IA32_VMX_BASIC bit 55 tells of.
    pub(super) with_true: u32,
    /// The default1 class.
    pub(super) default1: u64,
}

impl Pair {
    /// Pin-based controls: bits 1, 2 and 4 (appendix A.3.1).
    pub(super) const PIN: Self = Self {
        basic: msr::PINBASED_CTLS,
        with_true: msr::TRUE_PINBASED_CTLS,
        default1: 0x16,
    };
    /// Primary processor-based controls: bits 1, 4 to 6, 8, 13 to 16 and 26 (appendix A.3.2).
    pub(super) const PRIMARY: Self = Self {
        basic: msr::PROCBASED_CTLS,
        with_true: msr::TRUE_PROCBASED_CTLS,
        default1: 0x0401_e172,
    };
    /// Primary VM-exit controls: bits 0 to 8, 10, 11, 13, 14, 16 and 17 (appendix A.4.1).
    pub(super) const EXIT: Self = Self {
        basic: msr::EXIT_CTLS,
        with_true: msr::TRUE_EXIT_CTLS,
        default1: 0x3_6dff,
    };
    /// VM-entry controls: bits 0 to 8 and 12 (appendix A.5).
    pub(super) const ENTRY: Self = Self {
        basic: msr::ENTRY_CTLS,
        with_true: msr::TRUE_ENTRY_CTLS,
        default1: 0x11ff,
    };
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::PIN, Self::PRIMARY, Self::EXIT, Self::ENTRY];

    /// What the basic MSR is where the TRUE one has this value.
    pub(super) const fn basic_of(&self, with_true: u64) -> u64 {
        with_true | self.default1
    }

    /// The pair that this MSR is one of.
    pub(super) fn of(index: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|pair| pair.basic == index || pair.with_true == index)
    }
}

impl Capabilities {
    /// Narrows both MSRs of each pair until they agree: what the TRUE one allows, with the default1
    /// class must-be-1, is what the basic one allows. Without TRUE MSRs these are 0.
    pub(super) fn reconcile_pairs(&mut self) {
        for pair in Pair::ALL {
            if !self.basic.has_true_controls() {
                self.set_msr(pair.with_true, 0);
                continue;
            }
            let both = |index| self.msr(index).unwrap_or_default();
            let (basic, with_true) = (both(pair.basic), both(pair.with_true));
            let may = basic & with_true & HIGH;
            // What a basic MSR must have beyond the default1 class, the TRUE one must have too.
            let with_true = may | with_true & LOW | basic & LOW & !pair.default1;
            self.set_msr(pair.with_true, with_true);
            self.set_msr(pair.basic, pair.basic_of(with_true) | basic & LOW);
        }
    }
}

/// The half of a capability MSR with the bits that must be 1.
pub(super) const LOW: u64 = 0xffff_ffff;
/// The half with the bits that may be 1.
pub(super) const HIGH: u64 = !LOW;
