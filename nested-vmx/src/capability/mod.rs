// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the virtual processor can do: IA32_FEATURE_CONTROL and IA32_VMX_* as types (SDM volume 3,
//! appendix A).

mod basic;
mod builder;
mod control_range;
mod default1;
mod dependencies;
mod ept_vpid;
mod feature_control;
mod misc;
pub mod msr;
mod part;
mod processor;
mod restore;
mod software;
mod subset;

pub use basic::{Basic, BasicFeatures};
pub use builder::{Builder, NarrowError};
pub use control_range::ControlRange;
pub use ept_vpid::EptVpid;
pub use feature_control::FeatureControl;
pub use misc::{Misc, MiscFeatures};
pub use part::Part;
pub use processor::{Features, Processor};
pub use restore::{FeatureControlError, RestoreError};
pub use subset::{Excess, Reason};

use crate::controls::{
    EntryControls, ExitControls, PinControls, PrimaryControls, SecondaryControls,
    SecondaryExitControls, TertiaryControls,
};

/// The capabilities of a virtual processor: the values of its capability MSRs, and of what CPUID
/// says beside them.
///
/// Any combination of values is one. Where they contradict each other, checks follow the MSR that
/// the SDM names for the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// What CPUID says.
    pub processor: Processor,
    /// IA32_FEATURE_CONTROL.
    pub feature_control: FeatureControl,
    /// IA32_VMX_BASIC.
    pub basic: Basic,
    /// IA32_VMX_PINBASED_CTLS.
    pub pinbased_ctls: u64,
    /// IA32_VMX_PROCBASED_CTLS.
    pub procbased_ctls: u64,
    /// IA32_VMX_EXIT_CTLS.
    pub exit_ctls: u64,
    /// IA32_VMX_ENTRY_CTLS.
    pub entry_ctls: u64,
    /// IA32_VMX_MISC.
    pub misc: Misc,
    /// IA32_VMX_CR0_FIXED0: bits of CR0 that must be 1.
    pub cr0_fixed0: u64,
    /// IA32_VMX_CR0_FIXED1: bits of CR0 that may be 1.
    pub cr0_fixed1: u64,
    /// IA32_VMX_CR4_FIXED0: bits of CR4 that must be 1.
    pub cr4_fixed0: u64,
    /// IA32_VMX_CR4_FIXED1: bits of CR4 that may be 1.
    pub cr4_fixed1: u64,
    /// IA32_VMX_VMCS_ENUM.
    pub vmcs_enum: u64,
    /// IA32_VMX_PROCBASED_CTLS2.
    pub procbased_ctls2: u64,
    /// IA32_VMX_EPT_VPID_CAP.
    pub ept_vpid: EptVpid,
    /// IA32_VMX_TRUE_PINBASED_CTLS.
    pub true_pinbased_ctls: u64,
    /// IA32_VMX_TRUE_PROCBASED_CTLS.
    pub true_procbased_ctls: u64,
    /// IA32_VMX_TRUE_EXIT_CTLS.
    pub true_exit_ctls: u64,
    /// IA32_VMX_TRUE_ENTRY_CTLS.
    pub true_entry_ctls: u64,
    /// IA32_VMX_VMFUNC.
    pub vm_functions: u64,
    /// IA32_VMX_PROCBASED_CTLS3.
    pub procbased_ctls3: u64,
    /// IA32_VMX_EXIT_CTLS2.
    pub exit_ctls2: u64,
}

impl Capabilities {
    /// A processor that has no VMX: all MSRs are 0.
    pub const fn none(processor: Processor) -> Self {
        Self {
            processor,
            feature_control: FeatureControl::empty(),
            basic: Basic(0),
            pinbased_ctls: 0,
            procbased_ctls: 0,
            exit_ctls: 0,
            entry_ctls: 0,
            misc: Misc(0),
            cr0_fixed0: 0,
            cr0_fixed1: 0,
            cr4_fixed0: 0,
            cr4_fixed1: 0,
            vmcs_enum: 0,
            procbased_ctls2: 0,
            ept_vpid: EptVpid::empty(),
            true_pinbased_ctls: 0,
            true_procbased_ctls: 0,
            true_exit_ctls: 0,
            true_entry_ctls: 0,
            vm_functions: 0,
            procbased_ctls3: 0,
            exit_ctls2: 0,
        }
    }

    /// The capabilities that these MSRs have. MSRs that are not given are 0, others are ignored.
    pub fn from_msrs(processor: Processor, msrs: impl IntoIterator<Item = (u32, u64)>) -> Self {
        let mut capabilities = Self::none(processor);
        for (index, value) in msrs {
            capabilities.set_msr(index, value);
        }
        capabilities
    }

    /// The value of the MSR, if it is a capability MSR.
    pub const fn msr(&self, index: u32) -> Option<u64> {
        Some(match index {
            msr::FEATURE_CONTROL => self.feature_control.bits(),
            msr::BASIC => self.basic.0,
            msr::PINBASED_CTLS => self.pinbased_ctls,
            msr::PROCBASED_CTLS => self.procbased_ctls,
            msr::EXIT_CTLS => self.exit_ctls,
            msr::ENTRY_CTLS => self.entry_ctls,
            msr::MISC => self.misc.0,
            msr::CR0_FIXED0 => self.cr0_fixed0,
            msr::CR0_FIXED1 => self.cr0_fixed1,
            msr::CR4_FIXED0 => self.cr4_fixed0,
            msr::CR4_FIXED1 => self.cr4_fixed1,
            msr::VMCS_ENUM => self.vmcs_enum,
            msr::PROCBASED_CTLS2 => self.procbased_ctls2,
            msr::EPT_VPID_CAP => self.ept_vpid.bits(),
            msr::TRUE_PINBASED_CTLS => self.true_pinbased_ctls,
            msr::TRUE_PROCBASED_CTLS => self.true_procbased_ctls,
            msr::TRUE_EXIT_CTLS => self.true_exit_ctls,
            msr::TRUE_ENTRY_CTLS => self.true_entry_ctls,
            msr::VMFUNC => self.vm_functions,
            msr::PROCBASED_CTLS3 => self.procbased_ctls3,
            msr::EXIT_CTLS2 => self.exit_ctls2,
            _ => return None,
        })
    }

    /// Sets an MSR to any value, and returns whether it is a capability MSR.
    pub const fn set_msr(&mut self, index: u32, value: u64) -> bool {
        match index {
            msr::FEATURE_CONTROL => {
                self.feature_control = FeatureControl::from_bits_retain(value);
            }
            msr::BASIC => self.basic = Basic(value),
            msr::PINBASED_CTLS => self.pinbased_ctls = value,
            msr::PROCBASED_CTLS => self.procbased_ctls = value,
            msr::EXIT_CTLS => self.exit_ctls = value,
            msr::ENTRY_CTLS => self.entry_ctls = value,
            msr::MISC => self.misc = Misc(value),
            msr::CR0_FIXED0 => self.cr0_fixed0 = value,
            msr::CR0_FIXED1 => self.cr0_fixed1 = value,
            msr::CR4_FIXED0 => self.cr4_fixed0 = value,
            msr::CR4_FIXED1 => self.cr4_fixed1 = value,
            msr::VMCS_ENUM => self.vmcs_enum = value,
            msr::PROCBASED_CTLS2 => self.procbased_ctls2 = value,
            msr::EPT_VPID_CAP => self.ept_vpid = EptVpid::from_bits_retain(value),
            msr::TRUE_PINBASED_CTLS => self.true_pinbased_ctls = value,
            msr::TRUE_PROCBASED_CTLS => self.true_procbased_ctls = value,
            msr::TRUE_EXIT_CTLS => self.true_exit_ctls = value,
            msr::TRUE_ENTRY_CTLS => self.true_entry_ctls = value,
            msr::VMFUNC => self.vm_functions = value,
            msr::PROCBASED_CTLS3 => self.procbased_ctls3 = value,
            msr::EXIT_CTLS2 => self.exit_ctls2 = value,
            _ => return false,
        }
        true
    }

    const fn one_of(&self, basic: u64, with_true_controls: u64) -> u64 {
        match self.basic.has_true_controls() {
            true => with_true_controls,
            false => basic,
        }
    }

    /// Which pin-based controls are allowed (SDM volume 3, appendix A.3.1).
    pub const fn pin(&self) -> ControlRange<PinControls> {
        ControlRange::from_msr(self.one_of(self.pinbased_ctls, self.true_pinbased_ctls))
    }

    /// Which primary processor-based controls are allowed (appendix A.3.2).
    pub const fn primary(&self) -> ControlRange<PrimaryControls> {
        ControlRange::from_msr(self.one_of(self.procbased_ctls, self.true_procbased_ctls))
    }

    /// Which secondary processor-based controls are allowed (appendix A.3.3). The MSR exists only
    /// where they can be activated.
    pub fn secondary(&self) -> ControlRange<SecondaryControls> {
        let activate = PrimaryControls::ACTIVATE_SECONDARY_CONTROLS;
        ControlRange::from_msr(match self.primary().may_be_1(activate) {
            true => self.procbased_ctls2,
            false => 0,
        })
    }

    /// Which tertiary processor-based controls are allowed (appendix A.3.4).
    pub fn tertiary(&self) -> ControlRange<TertiaryControls> {
        let activate = PrimaryControls::ACTIVATE_TERTIARY_CONTROLS;
        ControlRange::from_allowed_1(match self.primary().may_be_1(activate) {
            true => self.procbased_ctls3,
            false => 0,
        })
    }

    /// Which primary VM-exit controls are allowed (appendix A.4.1).
    pub const fn exit(&self) -> ControlRange<ExitControls> {
        ControlRange::from_msr(self.one_of(self.exit_ctls, self.true_exit_ctls))
    }

    /// Which secondary VM-exit controls are allowed (appendix A.4.2).
    pub fn secondary_exit(&self) -> ControlRange<SecondaryExitControls> {
        let activate = ExitControls::ACTIVATE_SECONDARY_CONTROLS;
        ControlRange::from_allowed_1(match self.exit().may_be_1(activate) {
            true => self.exit_ctls2,
            false => 0,
        })
    }

    /// Which VM-entry controls are allowed (appendix A.5).
    pub const fn entry(&self) -> ControlRange<EntryControls> {
        ControlRange::from_msr(self.one_of(self.entry_ctls, self.true_entry_ctls))
    }

    /// A 1 in each bit that an address in a VMX structure must not have (SDM volume 3, appendix
    /// A.1: bit 48 of IA32_VMX_BASIC limits them to 32 bits).
    pub const fn beyond_physical(&self) -> u64 {
        match self.basic.is_limited_to_32_bit_addresses() {
            true => !0xffff_ffff,
            false => self.processor.beyond_physical(),
        }
    }
}
