// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Why KVM would refuse a state.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

use super::checked_by::CheckedBy;
use super::rule::{SetRule, Stage};
use crate::check::{Failure, Rule};
use crate::kvm::Errno;

/// A rule that KVM_SET_NESTED_STATE fails for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The header, or what belongs to it.
    State {
        /// The rule.
        rule: SetRule,
        /// The value that breaks it.
        found: u64,
    },
    /// L2 is active, and vmcs12 is one that no VM entry accepts.
    Vmcs12(Failure),
}

impl Refusal {
    /// What KVM_SET_NESTED_STATE fails with.
    ///
    /// For [`Rule::GuestCr3`] KVM returns a positive number instead of an error
    /// (`nested_vmx_enter_non_root_mode`); the state is not set either, and
    /// [`KvmVcpu`](crate::kvm::KvmVcpu) gives whatever `errno` was. It counts as EINVAL here.
    pub const fn errno(&self) -> Errno {
        match self {
            Self::State { rule, .. } => rule.errno(),
            Self::Vmcs12(_) => Errno::EINVAL,
        }
    }

    /// The rule's short name.
    pub const fn id(&self) -> &'static str {
        match self {
            Self::State { rule, .. } => rule.id(),
            Self::Vmcs12(failure) => failure.rule.id(),
        }
    }

    /// What the rule asks for.
    pub const fn requirement(&self) -> &'static str {
        match self {
            Self::State { rule, .. } => rule.requirement(),
            Self::Vmcs12(failure) => failure.rule.requirement(),
        }
    }

    /// KVM's function that refuses.
    pub const fn function(&self) -> &'static str {
        match self {
            Self::State { rule, .. } => rule.stage().function(),
            Self::Vmcs12(failure) => match failure.rule.checked_by() {
                CheckedBy::Kvm(function) => function,
                CheckedBy::Processor | CheckedBy::Nobody => Stage::Behind.function(),
            },
        }
    }

    /// Whether KVM has taken the vCPU out of its nested state by the time it refuses: then it is in
    /// VMX root operation, half restored. Set [`NestedState::off`](crate::kvm::NestedState::off), or
    /// drop the vCPU.
    pub const fn leaves_traces(&self) -> bool {
        match self {
            Self::State { rule, .. } => matches!(rule.stage(), Stage::Behind),
            Self::Vmcs12(_) => true,
        }
    }

    /// What to do, as a sentence without a full stop.
    pub fn remedy(&self) -> String {
        match self {
            Self::State { rule, .. } => rule.remedy().to_string(),
            Self::Vmcs12(Failure {
                rule: Rule::LinkRevision,
                ..
            }) => "restore L1's memory before the nested state".to_string(),
            Self::Vmcs12(failure) => {
                let violation = &failure.violation;
                let near = violation.allowed.nearest(violation.value);
                match near.filter(|&near| near != violation.value) {
                    Some(near) => format!("set {} to {near:#x}, for example", violation.subject),
                    None => format!("change {}: {}", violation.subject, violation.allowed),
                }
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State { rule, found } => write!(
                f,
                "{}: {}, but there is {found:#x} ({} in {})",
                rule.id(),
                rule.requirement(),
                self.errno(),
                self.function()
            ),
            Self::Vmcs12(failure) => {
                write!(
                    f,
                    "vmcs12: {failure} ({} in {})",
                    self.errno(),
                    self.function()
                )
            }
        }
    }
}

impl core::error::Error for Refusal {}
