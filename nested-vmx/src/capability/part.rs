// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Parts of the capabilities that can be taken away one by one.

use super::default1::{HIGH, Pair};
use super::{BasicFeatures, Capabilities, EptVpid, FeatureControl, Features, MiscFeatures, msr};
use crate::controls::{
    EntryControls, ExitControls, PinControls, PrimaryControls, SecondaryControls,
    SecondaryExitControls, TertiaryControls,
};

/// Bits of one group of capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Pin-based VM-execution controls that may be 1.
    Pin(PinControls),
    /// Primary processor-based VM-execution controls that may be 1.
    Primary(PrimaryControls),
    /// Secondary processor-based VM-execution controls that may be 1.
    Secondary(SecondaryControls),
    /// Tertiary processor-based VM-execution controls that may be 1.
    Tertiary(TertiaryControls),
    /// Primary VM-exit controls that may be 1.
    Exit(ExitControls),
    /// Secondary VM-exit controls that may be 1.
    SecondaryExit(SecondaryExitControls),
    /// VM-entry controls that may be 1.
    Entry(EntryControls),
    /// What EPT and VPID can do.
    EptVpid(EptVpid),
    /// Features in IA32_VMX_BASIC.
    Basic(BasicFeatures),
    /// Features in IA32_VMX_MISC, activity states among them.
    Misc(MiscFeatures),
    /// Bits of IA32_FEATURE_CONTROL.
    FeatureControl(FeatureControl),
    /// VM functions, by the number of the bit.
    VmFunctions(u64),
    /// Bits of CR0 that may be 1.
    Cr0(u64),
    /// Bits of CR4 that may be 1.
    Cr4(u64),
    /// Features that CPUID tells of.
    Features(Features),
}

macro_rules! from {
    ($($type:ident => $variant:ident,)*) => {
        $(
            impl From<$type> for Part {
                fn from(bits: $type) -> Self {
                    Self::$variant(bits)
                }
            }
        )*
    };
}

from! {
    PinControls => Pin,
    PrimaryControls => Primary,
    SecondaryControls => Secondary,
    TertiaryControls => Tertiary,
    ExitControls => Exit,
    SecondaryExitControls => SecondaryExit,
    EntryControls => Entry,
    EptVpid => EptVpid,
    BasicFeatures => Basic,
    MiscFeatures => Misc,
    FeatureControl => FeatureControl,
    Features => Features,
}

impl Part {
    /// Its bits, in their places.
    pub const fn bits(self) -> u64 {
        match self {
            Self::Pin(bits) => bits.bits() as u64,
            Self::Primary(bits) => bits.bits() as u64,
            Self::Secondary(bits) => bits.bits() as u64,
            Self::Tertiary(bits) => bits.bits(),
            Self::Exit(bits) => bits.bits() as u64,
            Self::SecondaryExit(bits) => bits.bits(),
            Self::Entry(bits) => bits.bits() as u64,
            Self::EptVpid(bits) => bits.bits(),
            Self::Basic(bits) => bits.bits(),
            Self::Misc(bits) => bits.bits(),
            Self::FeatureControl(bits) => bits.bits(),
            Self::VmFunctions(bits) | Self::Cr0(bits) | Self::Cr4(bits) => bits,
            Self::Features(bits) => bits.bits() as u64,
        }
    }

    /// The MSR that tells of it, if one does: the one without TRUE, where there are two.
    pub const fn msr(self) -> Option<u32> {
        Some(match self {
            Self::Pin(_) => msr::PINBASED_CTLS,
            Self::Primary(_) => msr::PROCBASED_CTLS,
            Self::Secondary(_) => msr::PROCBASED_CTLS2,
            Self::Tertiary(_) => msr::PROCBASED_CTLS3,
            Self::Exit(_) => msr::EXIT_CTLS,
            Self::SecondaryExit(_) => msr::EXIT_CTLS2,
            Self::Entry(_) => msr::ENTRY_CTLS,
            Self::EptVpid(_) => msr::EPT_VPID_CAP,
            Self::Basic(_) => msr::BASIC,
            Self::Misc(_) => msr::MISC,
            Self::FeatureControl(_) => msr::FEATURE_CONTROL,
            Self::VmFunctions(_) => msr::VMFUNC,
            Self::Cr0(_) => msr::CR0_FIXED1,
            Self::Cr4(_) => msr::CR4_FIXED1,
            Self::Features(_) => return None,
        })
    }

    /// Which of these bits the capabilities have.
    pub fn had_by(self, of: &Capabilities) -> u64 {
        self.bits()
            & match self {
                Self::Pin(_) => of.pin().allowed_1(),
                Self::Primary(_) => of.primary().allowed_1(),
                Self::Secondary(_) => of.secondary().allowed_1(),
                Self::Tertiary(_) => of.tertiary().allowed_1(),
                Self::Exit(_) => of.exit().allowed_1(),
                Self::SecondaryExit(_) => of.secondary_exit().allowed_1(),
                Self::Entry(_) => of.entry().allowed_1(),
                Self::EptVpid(_) => of.ept_vpid.bits(),
                Self::Basic(_) => of.basic.0,
                Self::Misc(_) => of.misc.0,
                Self::FeatureControl(_) => of.feature_control.bits(),
                Self::VmFunctions(_) => of.vm_functions,
                Self::Cr0(_) => of.cr0_fixed1,
                Self::Cr4(_) => of.cr4_fixed1,
                Self::Features(_) => of.processor.features.bits().into(),
            }
    }

    /// Which of these bits cannot be taken away: they must be 1, or belong to the default1 class,
    /// whose controls may always be 1.
    pub(super) fn fixed_in(self, of: &Capabilities) -> u64 {
        self.bits()
            & match self {
                Self::Pin(_) => of.pin().must_be_1() | Pair::PIN.default1,
                Self::Primary(_) => of.primary().must_be_1() | Pair::PRIMARY.default1,
                Self::Secondary(_) => of.secondary().must_be_1(),
                Self::Exit(_) => of.exit().must_be_1() | Pair::EXIT.default1,
                Self::Entry(_) => of.entry().must_be_1() | Pair::ENTRY.default1,
                Self::Cr0(_) => of.cr0_fixed0,
                Self::Cr4(_) => of.cr4_fixed0,
                _ => 0,
            }
    }

    /// Takes these bits away.
    pub(super) fn remove_from(self, from: &mut Capabilities) {
        match self {
            Self::Pin(bits) => forbid(from, &Pair::PIN, bits.bits()),
            Self::Primary(bits) => forbid(from, &Pair::PRIMARY, bits.bits()),
            Self::Secondary(bits) => from.procbased_ctls2 &= !(u64::from(bits.bits()) << 32),
            Self::Tertiary(bits) => from.procbased_ctls3 &= !bits.bits(),
            Self::Exit(bits) => forbid(from, &Pair::EXIT, bits.bits()),
            Self::SecondaryExit(bits) => from.exit_ctls2 &= !bits.bits(),
            Self::Entry(bits) => forbid(from, &Pair::ENTRY, bits.bits()),
            Self::EptVpid(bits) => from.ept_vpid = from.ept_vpid.difference(bits),
            Self::Basic(bits) => from.basic.0 &= !bits.bits(),
            Self::Misc(bits) => from.misc.0 &= !bits.bits(),
            Self::FeatureControl(bits) => {
                from.feature_control = from.feature_control.difference(bits);
            }
            Self::VmFunctions(bits) => from.vm_functions &= !bits,
            Self::Cr0(bits) => from.cr0_fixed1 &= !bits,
            Self::Cr4(bits) => from.cr4_fixed1 &= !bits,
            Self::Features(bits) => {
                from.processor.features = from.processor.features.difference(bits);
            }
        }
    }
}

/// Takes the permission to be 1 from bits of a control field.
fn forbid(from: &mut Capabilities, pair: &Pair, bits: u32) {
    let high = u64::from(bits) << 32 & HIGH;
    for index in [pair.basic, pair.with_true] {
        let value = from.msr(index).unwrap_or_default();
        from.set_msr(index, value & !high);
    }
}
