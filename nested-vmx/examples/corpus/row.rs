// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Compares one VMLAUNCH.

use std::fmt;

use nested_vmx::capability::Capabilities;
use nested_vmx::check::{EntryInstruction, EntryOutcome, EntryRequest, Failure, L1State, Phase};
use nested_vmx::vmcs::Vmcs;

/// How the VMLAUNCH was seen to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// L2 was entered.
    Entered,
    /// VMfailInvalid.
    FailInvalid,
    /// VMfailValid with this number.
    Fail(u32),
    /// A VM exit of a failed entry.
    EntryFailure { reason: u32, qualification: u64 },
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entered => f.write_str("L2 was entered"),
            Self::FailInvalid => f.write_str("VMfailInvalid"),
            Self::Fail(number) => write!(f, "VMfailValid {number}"),
            Self::EntryFailure {
                reason,
                qualification,
            } => write!(f, "exit reason {reason:#x}, qualification {qualification}"),
        }
    }
}

/// One VMLAUNCH.
pub struct Row {
    pub line: usize,
    pub suite: String,
    pub number: String,
    pub capabilities: Capabilities,
    pub l1: L1State,
    pub vmcs12: Vmcs,
    pub observed: Observed,
}

/// What was seen, and what the checks say.
#[derive(Debug)]
pub struct Difference {
    observed: Observed,
    checked: Result<(), Failure>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seen: {}; ", self.observed)?;
        match &self.checked {
            Ok(()) => f.write_str("by the checks L2 is entered"),
            Err(failure) => write!(
                f,
                "by the checks {}, because of {failure}",
                failure.outcome()
            ),
        }
    }
}

impl Row {
    /// Whether the checks agree with what was seen.
    pub fn compare(&self) -> Result<(), Difference> {
        let request = EntryRequest::new(&self.capabilities, &self.vmcs12, self.l1)
            .with_instruction(EntryInstruction::Vmlaunch);
        let checked = request.check();
        let expected = match checked.as_ref().map_err(Failure::outcome) {
            Ok(()) => Observed::Entered,
            Err(EntryOutcome::VmFailInvalid) => Observed::FailInvalid,
            Err(EntryOutcome::VmFailValid(error)) => Observed::Fail(error.number()),
            Err(EntryOutcome::EntryFailure {
                reason,
                qualification,
            }) => Observed::EntryFailure {
                reason: reason.0,
                qualification,
            },
        };
        let either = |number| {
            let phase = match number {
                7 => Phase::Controls,
                _ => Phase::Host,
            };
            request
                .check_all()
                .rules()
                .iter()
                .any(|rule| rule.phase() == phase)
        };
        let agrees = match (self.observed, expected) {
            (Observed::Fail(seen @ (7 | 8)), Observed::Fail(7 | 8)) => either(seen),
            (seen, expected) => seen == expected,
        };
        match agrees {
            true => Ok(()),
            false => Err(Difference {
                observed: self.observed,
                checked,
            }),
        }
    }
}
