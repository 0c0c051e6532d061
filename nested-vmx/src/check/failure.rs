// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A rule that is broken: by what, and what would not break it.

use core::fmt;

use super::rule::{Phase, Rule};
use crate::exit_reason::ExitReason;
use crate::instruction_error::InstructionError;
use crate::vmcs::Field;

/// What the value belongs to that breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A field of the VMCS.
    Field(Field),
    /// The pointer to the current VMCS.
    CurrentVmcs,
    /// The first four bytes of the current VMCS.
    Header,
    /// The launch state of the current VMCS.
    LaunchState,
    /// L1's interruptibility state.
    L1Interruptibility,
    /// L1's IA32_EFER.
    L1Efer,
    /// The first four bytes of the VMCS that the link pointer refers to.
    LinkedHeader,
    /// The virtual TPR, at offset 80H of the virtual-APIC page.
    VirtualTpr,
    /// One of the PDPTEs in memory, 0 to 3.
    Pdpte(u8),
    /// The index in an entry of the VM-entry MSR-load area, counted from 1.
    MsrEntry(u32),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(field) => write!(f, "{field}"),
            Self::CurrentVmcs => f.write_str("the current-VMCS pointer"),
            Self::Header => f.write_str("the header of the current VMCS"),
            Self::LaunchState => f.write_str("the launch state of the current VMCS"),
            Self::L1Interruptibility => f.write_str("L1's interruptibility state"),
            Self::L1Efer => f.write_str("L1's IA32_EFER"),
            Self::LinkedHeader => f.write_str("the header of the linked VMCS"),
            Self::VirtualTpr => f.write_str("the virtual TPR"),
            Self::Pdpte(number) => write!(f, "PDPTE {number}"),
            Self::MsrEntry(number) => write!(f, "entry {number} of the VM-entry MSR-load area"),
        }
    }
}

/// What the value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Allowed {
    /// Bits that must be 1, and bits that may be.
    Bits {
        /// A 1 for each bit that must be 1.
        must_be_1: u64,
        /// A 1 for each bit that may be 1.
        may_be_1: u64,
    },
    /// From the first number to the second.
    Range(u64, u64),
    /// One of these.
    OneOf(&'static [u64]),
    /// Just this.
    Exactly(u64),
    /// Anything but this.
    Not(u64),
    /// An address that is canonical for so many bits.
    Canonical(u32),
    /// The same, with these bits at 0 besides.
    CanonicalAligned(u32, u64),
    /// An address that is all 1, or has none of these bits.
    AllOnesOr(u64),
    /// Eight memory types: 0, 1, 4 to 7.
    MemoryTypes,
    /// An MSR that can be loaded, with a value that WRMSR takes.
    LoadableMsr,
    /// Memory that can be read.
    Memory,
}

impl Allowed {
    /// The value nearest to `value` that is allowed, where there is an obvious one.
    pub fn nearest(&self, value: u64) -> Option<u64> {
        Some(match *self {
            Self::Bits {
                must_be_1,
                may_be_1,
            } => value & may_be_1 | must_be_1,
            Self::Range(low, high) => value.clamp(low, high.max(low)),
            Self::OneOf(values) => *values.first()?,
            Self::Exactly(value) => value,
            Self::Not(_) | Self::LoadableMsr | Self::Memory => return None,
            Self::Canonical(width) => sign_extend(value, width),
            Self::CanonicalAligned(width, zero) => sign_extend(value, width) & !zero,
            Self::AllOnesOr(_) => u64::MAX,
            Self::MemoryTypes => 0x0007_0406_0007_0406,
        })
    }
}

const fn sign_extend(value: u64, width: u32) -> u64 {
    let unused = 64 - width;
    ((value << unused) as i64 >> unused) as u64
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Bits {
                must_be_1,
                may_be_1,
            } => {
                let must_be_0 = !may_be_1;
                // Whichever of the two masks says it with fewer bits.
                let zeros_are_few = must_be_0.count_ones() < may_be_1.count_ones();
                match (must_be_1, must_be_0, zeros_are_few) {
                    (_, 0, _) => write!(f, "with the bits {must_be_1:#x}"),
                    (0, _, true) => write!(f, "without the bits {must_be_0:#x}"),
                    (0, _, false) => write!(f, "no bits but {may_be_1:#x}"),
                    (_, _, true) => {
                        write!(f, "with the bits {must_be_1:#x} and without {must_be_0:#x}")
                    }
                    (_, _, false) => write!(
                        f,
                        "with the bits {must_be_1:#x} and no others but {may_be_1:#x}"
                    ),
                }
            }
            Self::Range(low, high) => write!(f, "{low:#x} to {high:#x}"),
            Self::OneOf(values) => {
                for (at, value) in values.iter().enumerate() {
                    let separator = match at {
                        0 => "",
                        _ if at + 1 == values.len() => " or ",
                        _ => ", ",
                    };
                    write!(f, "{separator}{value:#x}")?;
                }
                Ok(())
            }
            Self::Exactly(value) => write!(f, "{value:#x}"),
            Self::Not(value) => write!(f, "anything but {value:#x}"),
            Self::Canonical(width) => {
                write!(f, "an address that is canonical for {width} bits")
            }
            Self::CanonicalAligned(width, zero) => write!(
                f,
                "an address that is canonical for {width} bits, without the bits {zero:#x}"
            ),
            Self::AllOnesOr(zero) => write!(
                f,
                "{:#x}, or an address without the bits {zero:#x}",
                u64::MAX
            ),
            Self::MemoryTypes => f.write_str("bytes that are 0, 1, 4, 5, 6 or 7"),
            Self::LoadableMsr => f.write_str("an MSR that VM entry loads, with a value it takes"),
            Self::Memory => f.write_str("an address in memory"),
        }
    }
}

/// What breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Violation {
    /// What has the value.
    pub subject: Subject,
    /// The value.
    pub value: u64,
    /// What it may be, everything else being as it is.
    pub allowed: Allowed,
    /// The exit qualification, for rules whose failure is a VM exit.
    pub qualification: u64,
}

impl Violation {
    pub(super) const fn new(subject: Subject, value: u64, allowed: Allowed) -> Self {
        Self {
            subject,
            value,
            allowed,
            qualification: 0,
        }
    }

    pub(super) const fn field(field: Field, value: u64, allowed: Allowed) -> Self {
        Self::new(Subject::Field(field), value, allowed)
    }

    pub(super) const fn with_qualification(self, qualification: u64) -> Self {
        Self {
            qualification,
            ..self
        }
    }
}

/// How a VM entry ends that breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryOutcome {
    /// VMfailInvalid.
    VmFailInvalid,
    /// VMfailValid with this error.
    VmFailValid(InstructionError),
    /// A VM exit of a failed entry.
    EntryFailure {
        /// The exit reason, bit 31 set.
        reason: ExitReason,
        /// The exit qualification.
        qualification: u64,
    },
}

impl fmt::Display for EntryOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VmFailInvalid => f.write_str("VMfailInvalid"),
            Self::VmFailValid(error) => write!(f, "VMfailValid {}: {error}", error.number()),
            Self::EntryFailure {
                reason,
                qualification,
            } => write!(f, "{reason}, qualification {qualification}"),
        }
    }
}

/// A rule that a VM entry breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// The rule.
    pub rule: Rule,
    /// What breaks it.
    pub violation: Violation,
}

impl Failure {
    /// How the VM entry ends because of it.
    pub const fn outcome(&self) -> EntryOutcome {
        let error = match self.rule.phase() {
            Phase::Basic => match self.rule {
                Rule::MovSs => InstructionError::BlockedByMovSs,
                Rule::LaunchClear => InstructionError::VmlaunchNonClear,
                Rule::ResumeLaunched => InstructionError::VmresumeNonLaunched,
                _ => return EntryOutcome::VmFailInvalid,
            },
            Phase::Controls => InstructionError::InvalidControls,
            Phase::Host => InstructionError::InvalidHostState,
            Phase::Guest => {
                return self.entry_failure(ExitReason::ENTRY_FAILURE_GUEST_STATE);
            }
            Phase::MsrLoad => {
                return self.entry_failure(ExitReason::ENTRY_FAILURE_MSR_LOADING);
            }
        };
        EntryOutcome::VmFailValid(error)
    }

    const fn entry_failure(&self, reason: ExitReason) -> EntryOutcome {
        EntryOutcome::EntryFailure {
            reason: reason.entry_failure(),
            qualification: self.violation.qualification,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation {
            subject,
            value,
            allowed,
            ..
        } = self.violation;
        write!(
            f,
            "{}: {}, but {subject} is {value:#x}; allowed: {allowed} (SDM volume 3, section {})",
            self.rule.id(),
            self.rule.requirement(),
            self.rule.section()
        )
    }
}
