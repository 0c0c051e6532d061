// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which step failed, and what KVM's error means there.

use alloc::string::{String, ToString};
use core::fmt;

use super::meaning;
use super::port::Msr;
use super::step::Step;
use crate::capability::msr;
use crate::kvm::{Errno, Refusal};

/// What was done with the vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Its state was read.
    Read,
    /// Its state was set.
    Write,
}

/// What KVM said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The ioctl failed with this error.
    Errno(Errno),
    /// KVM stopped at this MSR: KVM_GET_MSRS and KVM_SET_MSRS give a number of MSRs, and no error.
    /// The value is what was to be set.
    Msr(Msr),
    /// Nothing was done: KVM would refuse the nested state.
    Refused(Refusal),
}

/// A step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepError {
    /// What was done.
    pub action: Action,
    /// The step.
    pub step: Step,
    /// What KVM said.
    pub cause: Cause,
}

impl StepError {
    /// KVM's error. An MSR that is refused counts as EINVAL.
    pub const fn errno(&self) -> Errno {
        match self.cause {
            Cause::Errno(errno) => errno,
            Cause::Msr(_) => Errno::EINVAL,
            Cause::Refused(refusal) => refusal.errno(),
        }
    }

    /// What the error means at this step, as a sentence without a full stop.
    pub const fn meaning(&self) -> &'static str {
        match &self.cause {
            Cause::Errno(errno) => meaning::of(self.step, *errno).0,
            Cause::Msr(_) => meaning::of_msr(self.action, self.step).0,
            Cause::Refused(refusal) => refusal.requirement(),
        }
    }

    /// What to do, as a sentence without a full stop.
    pub fn remedy(&self) -> String {
        match &self.cause {
            Cause::Errno(errno) => meaning::of(self.step, *errno).1.to_string(),
            Cause::Msr(_) => meaning::of_msr(self.action, self.step).1.to_string(),
            Cause::Refused(refusal) => refusal.remedy(),
        }
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.action {
            Action::Read => "cannot be read",
            Action::Write => "cannot be set",
        };
        write!(f, "{} {action}: ", self.step)?;
        match &self.cause {
            Cause::Errno(errno) => write!(f, "{errno}: {}", self.meaning())?,
            Cause::Msr(Msr { index, value }) => {
                match msr::name(*index) {
                    Some(name) => write!(f, "{name} ({index:#x})")?,
                    None => write!(f, "MSR {index:#x}")?,
                }
                if self.action == Action::Write {
                    write!(f, " = {value:#x}")?;
                }
                write!(f, ": {}", self.meaning())?;
            }
            Cause::Refused(refusal) => write!(f, "{refusal}")?,
        }
        write!(f, "; {}", self.remedy())
    }
}

impl core::error::Error for StepError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match &self.cause {
            Cause::Errno(errno) => Some(errno),
            Cause::Msr(_) => None,
            Cause::Refused(refusal) => Some(refusal),
        }
    }
}
