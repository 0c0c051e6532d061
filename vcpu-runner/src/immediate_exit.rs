// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What came of an immediate exit: an entry that happens, and ends as soon as it can.

use std::time::Duration;

use thiserror::Error;

use crate::{Exit, ExitKind, RunError};

/// An entry that was asked to be as short as possible, and did take place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImmediateExit {
    /// What shows that the guest was entered.
    pub evidence: Evidence,
    /// What became of the events that were to be delivered with this entry.
    pub injection: Injection,
    /// How many instructions the guest executed, where that is known. Those of the delivered
    /// event's handler where one was delivered, else those at the guest's instruction pointer.
    pub instructions: Option<u64>,
    /// How often the entry was tried, this time included.
    pub attempts: u32,
    /// What ended it, by the mechanism's name.
    pub mechanism: &'static str,
    /// From the first look at the vCPU's state to the last.
    pub time: Duration,
}

/// What shows that the guest was entered: the strongest that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// The guest made an exit that only a running guest makes.
    Exit(ExitKind),
    /// An event that was to be injected is not waiting any more.
    Injection,
    /// The vCPU's own count of exits has grown (KVM's binary statistics, `exits`).
    Counter,
    /// A register is not what it was.
    Progress,
}

/// What became of the events that were to be delivered with the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// There were none.
    Nothing,
    /// They were delivered: none of them waits any more.
    Consumed,
    /// At least one still waits: its delivery was interrupted, another event came first, or the
    /// guest blocks it. It is delivered with a later entry.
    Waits,
}

/// Why an immediate exit was asked for and the guest not entered for it. What was to be injected
/// still waits, and nothing else is lost either.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotEntered {
    /// The guest is halted and nothing wakes it, so there is no entry to be made short.
    #[error("the guest is halted: there is nothing to enter until an event makes it runnable")]
    Halted,
    /// The vCPU waits to be started by another one (INIT, SIPI).
    #[error("the vCPU waits to be started by another one (INIT, SIPI)")]
    NotStarted,
    /// Every attempt was over before the guest was entered.
    #[error(
        "the guest was not entered in {attempts} attempts, the last one with {mechanism}; is the \
         thread interrupted all the time, or starved? Ask again, or allow more attempts"
    )]
    Missed {
        /// How many there were.
        attempts: u32,
        /// What the last one was made with.
        mechanism: &'static str,
    },
    /// None of the mechanisms that the host has can be used in the state that the guest is in.
    #[error("no mechanism for an immediate exit fits this host and what the guest does: {reasons}")]
    NoMechanism {
        /// Each mechanism with what it lacks.
        reasons: String,
    },
    /// This vCPU was not given what an immediate exit needs.
    #[error(
        "the vCPU was not set up for immediate exits; call `KvmVcpu::set_up_immediate_exit` before \
         it runs"
    )]
    NotSetUp,
}

/// What [`Vcpu::run_briefly`](crate::Vcpu::run_briefly) comes back with.
#[derive(Debug)]
pub enum BriefRun<'a> {
    /// The guest was entered.
    Entered {
        /// How it went.
        report: ImmediateExit,
        /// An exit of the guest's own, to be handled as after [`Vcpu::run`](crate::Vcpu::run).
        /// `None` where the mechanism ended the entry, or a kick: no I/O is to be finished then.
        exit: Option<Exit<'a>>,
    },
    /// There was an exit to userspace before the guest was entered. It is to be handled; the
    /// immediate exit is still to be made.
    Before(Exit<'a>),
}

/// Why [`Vcpu::run_briefly`](crate::Vcpu::run_briefly) did not enter the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BriefError {
    /// The skip flag is set: somebody wants the vCPU outside, before the guest was entered, or before
    /// it had what was to be injected. The immediate exit is still to be made.
    Skipped,
    /// There was no entry and will be none.
    NotEntered(NotEntered),
    /// Running the vCPU failed.
    Run(RunError),
    /// The vCPU's state could not be read or put back, with this error number.
    State(i32),
}

impl From<NotEntered> for BriefError {
    fn from(why: NotEntered) -> Self {
        Self::NotEntered(why)
    }
}

impl From<RunError> for BriefError {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}
