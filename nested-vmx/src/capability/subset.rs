// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whether capabilities stay within others, MSR by MSR.

use core::fmt;

use thiserror::Error;

use super::{Basic, BasicFeatures, Capabilities, ControlRange, Misc, MiscFeatures, msr};
use crate::controls::{Controls, PinControls};

/// An MSR's value tells of more than is supported.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{} {value:#x}: {reason}", MsrName(*.msr))]
pub struct Excess {
    /// The MSR.
    pub msr: u32,
    /// Its value.
    pub value: u64,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a value, and by that how to mend it. Bits are in their places in the MSR.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Reason {
    /// Bits that are 1 in the supported value must stay 1.
    #[error("bits {0:#x} must be 1; set them")]
    MustBe1(u64),
    /// Bits that are 0 in the supported value must stay 0.
    #[error("bits {0:#x} are not supported; clear them")]
    MustBe0(u64),
    /// A number must be the same.
    #[error("{number} is {value:#x}, but only {supported:#x} is supported; set bits {mask:#x} so")]
    Different {
        /// What the number is.
        number: &'static str,
        /// Its bits.
        mask: u64,
        /// Its value.
        value: u64,
        /// The one that it must have.
        supported: u64,
    },
    /// A number must be at least the supported one.
    #[error("{number} is {value:#x}, but must be {supported:#x} or more; raise bits {mask:#x}")]
    TooSmall {
        /// What the number is.
        number: &'static str,
        /// Its bits.
        mask: u64,
        /// Its value.
        value: u64,
        /// The smallest one.
        supported: u64,
    },
    /// A number must be at most the supported one.
    #[error(
        "{number} is {value:#x}, but at most {supported:#x} is supported; lower bits {mask:#x}"
    )]
    TooLarge {
        /// What the number is.
        number: &'static str,
        /// Its bits.
        mask: u64,
        /// Its value.
        value: u64,
        /// The largest one.
        supported: u64,
    },
}

/// An MSR, as messages name it.
pub(super) struct MsrName(pub(super) u32);

impl fmt::Display for MsrName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match msr::name(self.0) {
            Some(name) => write!(f, "{name} ({:#x})", self.0),
            None => write!(f, "MSR {:#x}", self.0),
        }
    }
}

fn check_bits(must_be_1: u64, must_be_0: u64) -> Result<(), Reason> {
    match (must_be_1, must_be_0) {
        (0, 0) => Ok(()),
        (0, bits) => Err(Reason::MustBe0(bits)),
        (bits, _) => Err(Reason::MustBe1(bits)),
    }
}

/// Rules for a single value, beside the supported one.
pub(super) mod rule {
    use super::{Basic, BasicFeatures, Misc, MiscFeatures, Reason, check_bits};
    use crate::capability::default1::{HIGH, LOW};

    /// A 1 tells of something: there may be fewer.
    pub(in crate::capability) fn subset(value: u64, supported: u64) -> Result<(), Reason> {
        check_bits(0, value & !supported)
    }

    /// A 1 restricts something: there may be more.
    pub(in crate::capability) fn superset(value: u64, supported: u64) -> Result<(), Reason> {
        check_bits(supported & !value, 0)
    }

    /// Allowed-0 settings in the low half, allowed-1 settings in the high one.
    pub(in crate::capability) fn controls(value: u64, supported: u64) -> Result<(), Reason> {
        check_bits(supported & !value & LOW, value & !supported & HIGH)
    }

    fn number(value: u64, mask: u64) -> u64 {
        (value & mask) >> mask.trailing_zeros()
    }

    fn same(name: &'static str, mask: u64, value: u64, supported: u64) -> Result<(), Reason> {
        let [value, supported] = [value, supported].map(|of| number(of, mask));
        match value == supported {
            true => Ok(()),
            false => Err(Reason::Different {
                number: name,
                mask,
                value,
                supported,
            }),
        }
    }

    fn at_most(name: &'static str, mask: u64, value: u64, supported: u64) -> Result<(), Reason> {
        let [value, supported] = [value, supported].map(|of| number(of, mask));
        match value <= supported {
            true => Ok(()),
            false => Err(Reason::TooLarge {
                number: name,
                mask,
                value,
                supported,
            }),
        }
    }

    /// IA32_VMX_BASIC: a region may be larger, features may be fewer, all else is the same.
    pub(in crate::capability) fn basic(value: u64, supported: u64) -> Result<(), Reason> {
        let bits = BasicFeatures::all().bits() | Basic::RESERVED;
        subset(value & bits, supported)?;
        for (name, mask) in Basic::NUMBERS {
            same(name, mask, value, supported)?;
        }
        let mask = Basic::REGION_SIZE;
        let [value, supported] = [value, supported].map(|of| number(of, mask));
        match value >= supported {
            true => Ok(()),
            false => Err(Reason::TooSmall {
                number: "the region size",
                mask,
                value,
                supported,
            }),
        }
    }

    /// IA32_VMX_MISC: features and counts may be fewer. The rate counts only where there is a
    /// preemption timer.
    pub(in crate::capability) fn misc(
        value: u64,
        supported: u64,
        timer: bool,
    ) -> Result<(), Reason> {
        let bits = MiscFeatures::all().bits() | Misc::RESERVED;
        subset(value & bits, supported)?;
        if timer {
            let name = "the preemption timer's rate";
            same(name, Misc::TIMER_RATE, value, supported)?;
        }
        let name = "the count of CR3-target values";
        at_most(name, Misc::CR3_TARGETS, value, supported)?;
        let name = "the recommended maximum of an MSR list";
        at_most(name, Misc::MSR_LIST, value, supported)?;
        same("the MSEG revision", Misc::MSEG, value, supported)
    }
}

fn range<C: Controls>(ours: ControlRange<C>, theirs: ControlRange<C>) -> Result<(), Reason> {
    check_bits(
        theirs.must_be_1() & !ours.must_be_1(),
        (ours.allowed_1() & !theirs.allowed_1()) << 32,
    )
}

fn range_64<C: Controls>(ours: ControlRange<C>, theirs: ControlRange<C>) -> Result<(), Reason> {
    rule::subset(ours.allowed_1(), theirs.allowed_1())
}

impl Capabilities {
    /// Whether everything that these capabilities allow is allowed by `supported`, and everything
    /// they promise is promised there: L1 may be given these on a host that has those.
    ///
    /// A VMCS that passes all checks with these passes them with those. IA32_VMX_VMCS_ENUM only
    /// informs, and is not compared.
    pub fn is_subset_of(&self, supported: &Self) -> bool {
        self.processor.is_subset_of(&supported.processor)
            && msr::ALL
                .iter()
                .all(|&index| self.check_msr(index, supported).is_ok())
    }

    /// The first MSR, in the order of their numbers, that tells of more than `supported` has.
    pub fn excess_over(&self, supported: &Self) -> Option<Excess> {
        msr::ALL.iter().find_map(|&index| {
            let reason = self.check_msr(index, supported).err()?;
            Some(Excess {
                msr: index,
                value: self.msr(index)?,
                reason,
            })
        })
    }

    fn check_msr(&self, index: u32, supported: &Self) -> Result<(), Reason> {
        let value = self.msr(index).unwrap_or_default();
        let theirs = supported.msr(index).unwrap_or_default();
        match index {
            msr::FEATURE_CONTROL
            | msr::CR0_FIXED1
            | msr::CR4_FIXED1
            | msr::EPT_VPID_CAP
            | msr::VMFUNC => rule::subset(value, theirs),
            msr::CR0_FIXED0 | msr::CR4_FIXED0 => rule::superset(value, theirs),
            msr::BASIC => rule::basic(value, theirs),
            msr::MISC => {
                let timer = self.pin().may_be_1(PinControls::PREEMPTION_TIMER);
                rule::misc(value, theirs, timer)
            }
            msr::VMCS_ENUM => Ok(()),
            // Of two MSRs for one field, that counts which the processor has.
            msr::TRUE_PINBASED_CTLS => range(self.pin(), supported.pin()),
            msr::TRUE_PROCBASED_CTLS => range(self.primary(), supported.primary()),
            msr::TRUE_EXIT_CTLS => range(self.exit(), supported.exit()),
            msr::TRUE_ENTRY_CTLS => range(self.entry(), supported.entry()),
            // Must-be-1 bits of a field that cannot be activated bind nobody.
            msr::PROCBASED_CTLS2 if self.secondary().allowed_1() == 0 => Ok(()),
            msr::PROCBASED_CTLS2 => range(self.secondary(), supported.secondary()),
            msr::PROCBASED_CTLS3 => range_64(self.tertiary(), supported.tertiary()),
            msr::EXIT_CTLS2 => range_64(self.secondary_exit(), supported.secondary_exit()),
            _ => rule::controls(value, theirs),
        }
    }
}
