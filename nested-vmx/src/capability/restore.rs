// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Restoring capability MSRs, as when a virtual machine is resumed elsewhere, and L1's own writes.

use thiserror::Error;

use super::default1::Pair;
use super::subset::{MsrName, rule};
use super::{Capabilities, Excess, FeatureControl, msr};
use crate::controls::PinControls;

/// Why a capability MSR is not restored.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RestoreError {
    /// This is no capability MSR.
    #[error("MSR {msr:#x} is not a capability MSR; restore it elsewhere")]
    Unknown {
        /// The MSR.
        msr: u32,
        /// The value.
        value: u64,
    },
    /// The vCPU is in VMX operation, and its capabilities cannot change any more.
    #[error(
        "{} = {value:#x}: the vCPU is in VMX operation; restore capability MSRs before the nested state",
        MsrName(*.msr)
    )]
    InVmxOperation {
        /// The MSR.
        msr: u32,
        /// The value.
        value: u64,
    },
    /// The MSR follows from others, or from CPUID.
    #[error("{} = {value:#x}: cannot be restored; {}", MsrName(*.msr), source_of(*.msr))]
    NotRestorable {
        /// The MSR.
        msr: u32,
        /// The value.
        value: u64,
    },
    /// The value tells of more than this host supports.
    #[error(transparent)]
    Unsupported(#[from] Excess),
}

/// Where the value of an MSR that cannot be restored comes from.
const fn source_of(index: u32) -> &'static str {
    match index {
        msr::CR0_FIXED1 | msr::CR4_FIXED1 => "it follows from CPUID: set that",
        msr::PROCBASED_CTLS3 | msr::EXIT_CTLS2 => "leave it as the host has it",
        _ => "it follows from the TRUE MSR of the same field: restore that",
    }
}

/// Why WRMSR of IA32_FEATURE_CONTROL causes a general-protection exception.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FeatureControlError {
    /// It is locked (SDM volume 3, section 25.7).
    #[error("IA32_FEATURE_CONTROL is locked: it cannot be written before the next reset")]
    Locked,
    /// Bits that the processor does not support.
    #[error("IA32_FEATURE_CONTROL: bits {0:#x} are not supported; clear them")]
    Unsupported(u64),
}

impl Capabilities {
    /// Restores a capability MSR of a vCPU with these capabilities, on a host that can give it
    /// `supported` at most. This is what a VMM does, not the guest. Values that only narrow are
    /// taken; MSRs that follow from the restored one follow.
    ///
    /// Restore IA32_VMX_BASIC and the TRUE MSRs before IA32_VMX_MISC: whether the preemption
    /// timer's rate counts depends on whether there is one.
    ///
    /// # Errors
    ///
    /// [`RestoreError`]; all is as before.
    pub fn restore(
        &mut self,
        supported: &Self,
        index: u32,
        value: u64,
        in_vmx_operation: bool,
    ) -> Result<(), RestoreError> {
        let Some(theirs) = supported.msr(index) else {
            return Err(RestoreError::Unknown { msr: index, value });
        };
        // It is no capability but a setting, and VMXON looked at it already.
        let is_capability = index != msr::FEATURE_CONTROL;
        if in_vmx_operation && is_capability {
            return Err(RestoreError::InVmxOperation { msr: index, value });
        }
        let checked = match index {
            msr::PINBASED_CTLS
            | msr::PROCBASED_CTLS
            | msr::EXIT_CTLS
            | msr::ENTRY_CTLS
            | msr::CR0_FIXED1
            | msr::CR4_FIXED1
            | msr::PROCBASED_CTLS3
            | msr::EXIT_CTLS2 => {
                return Err(RestoreError::NotRestorable { msr: index, value });
            }
            msr::BASIC => rule::basic(value, theirs),
            msr::MISC => {
                let timer = self.pin().may_be_1(PinControls::PREEMPTION_TIMER);
                rule::misc(value, theirs, timer)
            }
            msr::CR0_FIXED0 | msr::CR4_FIXED0 => rule::superset(value, theirs),
            msr::EPT_VPID_CAP | msr::VMFUNC => rule::subset(value, theirs),
            // The lock binds the guest, not the VMM.
            msr::FEATURE_CONTROL => rule::subset(value, theirs | FeatureControl::LOCK.bits()),
            msr::VMCS_ENUM => Ok(()),
            _ => rule::controls(value, theirs),
        };
        checked.map_err(|reason| Excess {
            msr: index,
            value,
            reason,
        })?;
        self.set_msr(index, value);
        if let Some(pair) = Pair::of(index) {
            self.set_msr(pair.basic, pair.basic_of(value));
        }
        Ok(())
    }

    /// What the guest's WRMSR of IA32_FEATURE_CONTROL does: the first write that locks it is the
    /// last.
    ///
    /// # Errors
    ///
    /// [`FeatureControlError`]: a general-protection exception; all is as before.
    pub const fn write_feature_control(
        &mut self,
        supported: &Self,
        value: u64,
    ) -> Result<(), FeatureControlError> {
        if self.feature_control.contains(FeatureControl::LOCK) {
            return Err(FeatureControlError::Locked);
        }
        let allowed = supported.feature_control.union(FeatureControl::LOCK).bits();
        match value & !allowed {
            0 => {
                self.feature_control = FeatureControl::from_bits_retain(value);
                Ok(())
            }
            bits => Err(FeatureControlError::Unsupported(bits)),
        }
    }
}
