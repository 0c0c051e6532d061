// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Compares one VMLAUNCH.

use std::fmt;

use nested_vmx::capability::Capabilities;
use nested_vmx::check::{EntryInstruction, EntryOutcome, EntryRequest, Failure, L1State, Phase};
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::memory::{L1Memory, MemoryError};
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

/// L1's memory, of which the file says nothing, if each byte of it were this.
struct Filled(u8);

impl L1Memory for Filled {
    fn read(&self, _: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        into.fill(self.0);
        Ok(())
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), MemoryError> {
        Err(MemoryError {
            address,
            length: from.len(),
        })
    }

    fn compare_exchange(&self, address: u64, _: u64, _: u64) -> Result<u64, MemoryError> {
        Err(MemoryError { address, length: 8 })
    }
}

/// How the checks say that it ends.
fn expected(checked: &Result<(), Failure>) -> Observed {
    match checked.as_ref().map_err(Failure::outcome) {
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
    }
}

impl Row {
    /// Whether the checks agree with what was seen.
    ///
    /// What was in memory is not in the file: the virtual TPR, a linked VMCS, PDPTEs, an MSR-load
    /// area. So a row agrees if the checks come to what was seen with memory that is right, with
    /// memory that is 0, or with memory that is all 1.
    pub fn compare(&self) -> Result<(), Difference> {
        let request = EntryRequest::new(&self.capabilities, &self.vmcs12, self.l1)
            .with_instruction(EntryInstruction::Vmlaunch);
        let checked = request.check();
        let agrees = self.agrees(&request)
            || [Filled(0), Filled(0xff)]
                .iter()
                .any(|memory| self.agrees(&request.with_memory(memory)));
        match agrees || checked.is_ok() && self.is_in_msr_area() {
            true => Ok(()),
            false => Err(Difference {
                observed: self.observed,
                checked,
            }),
        }
    }

    fn agrees(&self, request: &EntryRequest<'_>) -> bool {
        let either = |number| {
            let phase = match number {
                7 => Phase::Controls,
                _ => Phase::Host,
            };
            let rules = request.check_all().rules();
            rules.iter().any(|rule| rule.phase() == phase)
        };
        match (self.observed, expected(&request.check())) {
            (Observed::Fail(seen @ (7 | 8)), Observed::Fail(7 | 8)) => either(seen),
            (seen, expected) => seen == expected,
        }
    }

    /// Any entry of the MSR-load area may have been the bad one.
    fn is_in_msr_area(&self) -> bool {
        let count = u64::from(self.vmcs12.vm_entry_msr_load_count());
        matches!(
            self.observed,
            Observed::EntryFailure { reason, qualification: entry @ 1.. }
                if ExitReason(reason).basic() == ExitReason::ENTRY_FAILURE_MSR_LOADING
                    && entry <= count
        )
    }
}
