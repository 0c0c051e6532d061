// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Capabilities made from others by taking away.

use thiserror::Error;

use super::default1::{HIGH, LOW};
use super::dependencies::DEPENDENCIES;
use super::subset::MsrName;
use super::{Basic, Capabilities, Misc, Part, Processor, msr};
use crate::vmcs::Field;

/// Why capabilities cannot be narrowed so.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NarrowError {
    /// These bits must be 1, so they cannot be taken away: they are the MSR's allowed-0 settings,
    /// of the default1 class, or fixed bits of a control register. Or what was taken away before
    /// would take them along.
    #[error(
        "{}: bits {bits:#x} must be 1 and cannot be taken away; keep them, and what needs them gone",
        MsrName(*.msr)
    )]
    MustBe1 {
        /// The MSR.
        msr: u32,
        /// The bits, in the places that they have in the control field or control register.
        bits: u64,
    },
    /// These bits may not be 1, so they cannot be required.
    #[error("{}: bits {bits:#x} may not be 1 and cannot be required", MsrName(*.msr))]
    MayNotBe1 {
        /// The MSR.
        msr: u32,
        /// The bits, in the places that they have in the control register.
        bits: u64,
    },
    /// The MSR says of these bits both that they must be 1 and that they may not be.
    #[error("{}: bits {bits:#x} must be 1 and may not be 1", MsrName(*.msr))]
    Contradictory {
        /// The MSR.
        msr: u32,
        /// The bits, in the places that they have in the control field or control register.
        bits: u64,
    },
    /// The two values differ in a number that cannot be narrowed, only be the same.
    #[error(
        "{}: {number} is {ours:#x} here and {theirs:#x} there; nothing fits both",
        MsrName(*.msr)
    )]
    Different {
        /// The MSR.
        msr: u32,
        /// What differs.
        number: &'static str,
        /// The value here.
        ours: u64,
        /// The value there.
        theirs: u64,
    },
}

/// Narrows capabilities, a host's above all: what it builds is a subset of what it began with
/// ([`Capabilities::is_subset_of`]), and a VMCS that the result allows is allowed by the host.
///
/// What makes no sense without the parts that are taken away goes too when the result is built:
/// without EPT there is no unrestricted guest, page-modification logging or EPTP switching.
///
/// ```
/// use nested_vmx::capability::{Capabilities, Processor};
/// use nested_vmx::controls::SecondaryControls;
///
/// let host = Capabilities::software(Processor::new(39));
/// let narrow = host
///     .narrow()
///     .without(SecondaryControls::ENABLE_EPT)?
///     .build()?;
/// assert!(narrow.is_subset_of(&host));
/// assert!(!narrow.secondary().may_be_1(SecondaryControls::UNRESTRICTED_GUEST));
/// # Ok::<_, nested_vmx::capability::NarrowError>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is built yet"]
pub struct Builder {
    capabilities: Capabilities,
}

impl Capabilities {
    /// Begins to narrow these capabilities.
    pub fn narrow(&self) -> Builder {
        let mut capabilities = *self;
        capabilities.reconcile_pairs();
        Builder { capabilities }
    }

    /// What both of two processors can do.
    ///
    /// # Errors
    ///
    /// [`NarrowError`]: nothing fits both.
    pub fn narrowed_to(&self, other: &Self) -> Result<Self, NarrowError> {
        self.narrow().within(other)?.build()
    }
}

impl Builder {
    /// Takes these bits away. Bits that were not there are not minded.
    ///
    /// # Errors
    ///
    /// [`NarrowError::MustBe1`]
    pub fn without(mut self, part: impl Into<Part>) -> Result<Self, NarrowError> {
        self.remove(part.into())?;
        Ok(self)
    }

    fn remove(&mut self, part: Part) -> Result<(), NarrowError> {
        let bits = part.fixed_in(&self.capabilities) & part.had_by(&self.capabilities);
        match part.msr() {
            Some(msr) if bits != 0 => Err(NarrowError::MustBe1 { msr, bits }),
            _ => {
                part.remove_from(&mut self.capabilities);
                Ok(())
            }
        }
    }

    /// Allows only 1 for these bits of CR0.
    ///
    /// # Errors
    ///
    /// [`NarrowError::MayNotBe1`]
    pub const fn requiring_cr0(mut self, bits: u64) -> Result<Self, NarrowError> {
        match bits & !self.capabilities.cr0_fixed1 {
            0 => {
                self.capabilities.cr0_fixed0 |= bits;
                Ok(self)
            }
            bits => Err(NarrowError::MayNotBe1 {
                msr: msr::CR0_FIXED1,
                bits,
            }),
        }
    }

    /// Allows only 1 for these bits of CR4.
    ///
    /// # Errors
    ///
    /// [`NarrowError::MayNotBe1`]
    pub const fn requiring_cr4(mut self, bits: u64) -> Result<Self, NarrowError> {
        match bits & !self.capabilities.cr4_fixed1 {
            0 => {
                self.capabilities.cr4_fixed0 |= bits;
                Ok(self)
            }
            bits => Err(NarrowError::MayNotBe1 {
                msr: msr::CR4_FIXED1,
                bits,
            }),
        }
    }

    /// Leaves at most so many CR3-target values.
    pub fn with_cr3_targets(mut self, at_most: u32) -> Self {
        let count = self.capabilities.misc.cr3_targets().min(at_most);
        self.set_misc(Misc::CR3_TARGETS, count.into());
        self
    }

    /// Leaves at most so many entries of an MSR area, but 512 at least: their number is told as a
    /// multiple of that.
    pub fn with_msr_list(mut self, at_most: u32) -> Self {
        let count = self.capabilities.misc.max_msr_list().min(at_most);
        self.set_misc(Misc::MSR_LIST, u64::from(count / 512).saturating_sub(1));
        self
    }

    const fn set_misc(&mut self, number: u64, value: u64) {
        let others = self.capabilities.misc.0 & !number;
        self.capabilities.misc = Misc(others | value << number.trailing_zeros() & number);
    }

    /// Leaves only what this processor has, too.
    pub fn with_processor(mut self, other: &Processor) -> Self {
        let ours = &mut self.capabilities.processor;
        *ours = Processor {
            physical_address_width: ours
                .physical_address_width
                .min(other.physical_address_width),
            features: ours.features.intersection(other.features),
            efer: ours.efer & other.efer,
            debugctl: ours.debugctl & other.debugctl,
            perf_global_ctrl: ours.perf_global_ctrl & other.perf_global_ctrl,
        };
        self
    }

    /// Leaves only what `other` has, too.
    ///
    /// # Errors
    ///
    /// [`NarrowError::Different`]: nothing fits both. (Bits that must be 1 for one and may not be 1
    /// for the other come up when the result is built.)
    pub fn within(self, other: &Capabilities) -> Result<Self, NarrowError> {
        let mut builder = self.with_processor(&other.processor);
        builder.narrow_basic(other.basic)?;
        builder.narrow_misc(other)?;
        let ours = &mut builder.capabilities;
        for &index in msr::ALL {
            let value = ours.msr(index).unwrap_or_default();
            let theirs = other.msr(index).unwrap_or_default();
            let both = match index {
                // These are numbers as well as bits: see above. And this is counted anew.
                msr::BASIC | msr::MISC | msr::VMCS_ENUM => value,
                msr::FEATURE_CONTROL
                | msr::CR0_FIXED1
                | msr::CR4_FIXED1
                | msr::EPT_VPID_CAP
                | msr::VMFUNC
                | msr::PROCBASED_CTLS3
                | msr::EXIT_CTLS2 => value & theirs,
                msr::CR0_FIXED0 | msr::CR4_FIXED0 => value | theirs,
                // The control fields: bits that must be 1 for either, that may be for both.
                _ => value & theirs & HIGH | (value | theirs) & LOW,
            };
            ours.set_msr(index, both);
        }
        Ok(builder)
    }

    fn narrow_basic(&mut self, other: Basic) -> Result<(), NarrowError> {
        let ours = self.capabilities.basic;
        for (number, mask) in Basic::NUMBERS {
            same(msr::BASIC, number, mask, ours.0, other.0)?;
        }
        let unshared = ours.features().difference(other.features());
        // With a larger region, software that reserves as much as it is told to works with both.
        let size = ours.region_size().max(other.region_size());
        let others = ours.0 & !unshared.bits() & !Basic::REGION_SIZE;
        self.capabilities.basic = Basic(others | u64::from(size) << 32);
        // Without TRUE MSRs on the other side, what it allows is in those that both have.
        self.capabilities.reconcile_pairs();
        Ok(())
    }

    fn narrow_misc(&mut self, other: &Capabilities) -> Result<(), NarrowError> {
        let ours = self.capabilities.misc;
        same(
            msr::MISC,
            "the MSEG revision",
            Misc::MSEG,
            ours.0,
            other.misc.0,
        )?;
        let timer = crate::controls::PinControls::PREEMPTION_TIMER;
        if self.capabilities.pin().may_be_1(timer) && other.pin().may_be_1(timer) {
            same(
                msr::MISC,
                "the preemption timer's rate",
                Misc::TIMER_RATE,
                ours.0,
                other.misc.0,
            )?;
        }
        let unshared = ours.features().difference(other.misc.features());
        self.capabilities.misc.0 &= !unshared.bits();
        *self = self
            .with_cr3_targets(other.misc.cr3_targets())
            .with_msr_list(other.misc.max_msr_list());
        Ok(())
    }

    /// What is left: without the parts that need others which are gone, IA32_VMX_VMCS_ENUM counted
    /// over the fields that there still are, and the MSRs that tell of the same field in agreement.
    ///
    /// # Errors
    ///
    /// [`NarrowError::MustBe1`]: something must be 1 that needs what was taken away;
    /// [`NarrowError::Contradictory`]: for a field, there is no value at all that is allowed.
    pub fn build(mut self) -> Result<Capabilities, NarrowError> {
        self.capabilities.reconcile_pairs();
        while self.drop_dependents()? {}
        self.capabilities.reconcile_pairs();
        self.find_contradiction()?;
        self.capabilities.vmcs_enum = self.capabilities.highest_index() << 1;
        Ok(self.capabilities)
    }

    /// Takes away what depends on something that is gone, and returns whether there was any.
    fn drop_dependents(&mut self) -> Result<bool, NarrowError> {
        let mut dropped = false;
        for rule in DEPENDENCIES {
            let there = rule.needs.had_by(&self.capabilities) != 0;
            if !there && rule.dependent.had_by(&self.capabilities) != 0 {
                self.remove(rule.dependent)?;
                dropped = true;
            }
        }
        self.clear_what_cannot_be_activated();
        Ok(dropped)
    }

    /// MSRs of fields that cannot be activated do not exist (SDM volume 3, appendix A.3.3, A.3.4
    /// and A.4.2); the typed ranges are empty then already.
    fn clear_what_cannot_be_activated(&mut self) {
        let capabilities = &mut self.capabilities;
        if capabilities.secondary().allowed_1() == 0 {
            capabilities.procbased_ctls2 = 0;
        }
        if capabilities.tertiary().allowed_1() == 0 {
            capabilities.procbased_ctls3 = 0;
        }
        if capabilities.secondary_exit().allowed_1() == 0 {
            capabilities.exit_ctls2 = 0;
        }
    }

    fn find_contradiction(&self) -> Result<(), NarrowError> {
        let of = &self.capabilities;
        let fields = [
            (msr::PINBASED_CTLS, of.pinbased_ctls),
            (msr::PROCBASED_CTLS, of.procbased_ctls),
            (msr::EXIT_CTLS, of.exit_ctls),
            (msr::ENTRY_CTLS, of.entry_ctls),
            (msr::PROCBASED_CTLS2, of.procbased_ctls2),
        ];
        let fields = fields
            .into_iter()
            // Without VMX there is no MSR, and nothing to contradict.
            .filter(|&(_, value)| value & HIGH != 0 || of.basic.0 != 0)
            .map(|(msr, value)| (msr, value & LOW & !(value >> 32)));
        let registers = [
            (msr::CR0_FIXED0, of.cr0_fixed0 & !of.cr0_fixed1),
            (msr::CR4_FIXED0, of.cr4_fixed0 & !of.cr4_fixed1),
        ];
        match fields.chain(registers).find(|&(_, bits)| bits != 0) {
            Some((msr, bits)) => Err(NarrowError::Contradictory { msr, bits }),
            None => Ok(()),
        }
    }
}

/// Whether two values have the same number in the bits `mask`.
fn same(
    msr: u32,
    number: &'static str,
    mask: u64,
    ours: u64,
    theirs: u64,
) -> Result<(), NarrowError> {
    let [ours, theirs] = [ours, theirs].map(|value| (value & mask) >> mask.trailing_zeros());
    match ours == theirs {
        true => Ok(()),
        false => Err(NarrowError::Different {
            msr,
            number,
            ours,
            theirs,
        }),
    }
}

impl Capabilities {
    /// The highest index of any field (SDM volume 3, appendix A.9).
    pub(super) fn highest_index(&self) -> u64 {
        Field::ALL
            .iter()
            .filter(|field| field.exists(self))
            .map(|field| u64::from(field.encoding().index()))
            .max()
            .unwrap_or_default()
    }
}
