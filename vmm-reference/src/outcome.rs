// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How a guest's run ended, and the place where the first reason to end it is kept.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use vmm_sys_util::eventfd::EventFd;

use crate::guest_instruction::GuestInstruction;
use crate::internal_error::InternalError;

/// How a guest's run ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The guest switched itself off.
    PowerOff,
    /// The guest reset the machine.
    Reset,
    /// The guest ended its run by the debug exit port.
    DebugExit {
        /// What it wrote.
        value: u32,
    },
    /// The guest could not handle an exception, nor the one that followed, nor the next.
    TripleFault {
        /// Which vCPU.
        vcpu: u8,
        /// Where it stood, if KVM still knows.
        at: Option<GuestInstruction>,
    },
    /// KVM_EXIT_INTERNAL_ERROR.
    InternalError {
        /// Which vCPU.
        vcpu: u8,
        /// What KVM told.
        error: InternalError,
    },
    /// The hardware refused to enter the guest.
    EntryFailed {
        /// Which vCPU.
        vcpu: u8,
        /// The hardware's reason.
        reason: u64,
        /// The physical CPU.
        cpu: u32,
    },
    /// An exit that this VMM has asked for nowhere.
    UnexpectedExit {
        /// Which vCPU.
        vcpu: u8,
        /// The exit.
        exit: String,
    },
    /// The vCPU cannot be run any more.
    VcpuFailed {
        /// Which vCPU.
        vcpu: u8,
        /// Why.
        source: vcpu_runner::Error,
    },
    /// The virtual processor with VMX in software cannot go on.
    NestedFailed {
        /// Why.
        message: String,
    },
    /// A defect of this VMM.
    VcpuPanicked {
        /// Which vCPU.
        vcpu: u8,
        /// The panic's message.
        message: String,
    },
    /// The console's output cannot be written any more.
    ConsoleFailed(io::Error),
    /// The user has quit, with Ctrl-A x.
    Quit,
    /// A signal.
    Signal(i32),
}

impl Outcome {
    /// Did the guest end its run in one of the ways that are meant for it?
    pub const fn is_the_guests_own(&self) -> bool {
        matches!(self, Self::PowerOff | Self::Reset | Self::DebugExit { .. })
    }

    /// Its name, for programs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PowerOff => "poweroff",
            Self::Reset => "reset",
            Self::DebugExit { .. } => "debug_exit",
            Self::TripleFault { .. } => "triple_fault",
            Self::InternalError { .. } => "internal_error",
            Self::EntryFailed { .. } => "entry_failed",
            Self::UnexpectedExit { .. } => "unexpected_exit",
            Self::VcpuFailed { .. } => "vcpu_failed",
            Self::NestedFailed { .. } => "nested_failed",
            Self::VcpuPanicked { .. } => "vcpu_panicked",
            Self::ConsoleFailed(_) => "console_failed",
            Self::Quit => "quit",
            Self::Signal(_) => "signal",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerOff => write!(f, "the guest switched itself off"),
            Self::Reset => write!(f, "the guest reset the machine"),
            Self::DebugExit { value } => {
                write!(f, "the guest wrote {value:#x} to the debug exit port")
            }
            Self::TripleFault { vcpu, at } => {
                write!(f, "vCPU {vcpu} had a triple fault")?;
                if let Some(at) = at {
                    write!(f, " at {at}")?;
                }
                write!(
                    f,
                    ": the guest could not handle an exception; boot it with more console \
                     output (`earlyprintk=serial`) to see which"
                )
            }
            Self::InternalError { vcpu, error } => write!(f, "vCPU {vcpu}: {error}"),
            Self::EntryFailed { vcpu, reason, cpu } => write!(
                f,
                "CPU {cpu} refused to enter vCPU {vcpu} with hardware reason {reason:#x}: the \
                 guest's state is invalid, or the host's KVM has a defect (see `dmesg`)"
            ),
            Self::UnexpectedExit { vcpu, exit } => {
                write!(
                    f,
                    "vCPU {vcpu} came back with {exit}, which this VMM does not handle"
                )
            }
            Self::VcpuFailed { vcpu, source } => write!(f, "vCPU {vcpu}: {source}"),
            Self::NestedFailed { message } => write!(f, "nested VMX in software: {message}"),
            Self::VcpuPanicked { vcpu, message } => {
                write!(
                    f,
                    "a defect of this VMM: the thread of vCPU {vcpu} panicked: {message}"
                )
            }
            Self::ConsoleFailed(error) => {
                write!(
                    f,
                    "cannot write the console's output: {error}; the guest was stopped"
                )
            }
            Self::Quit => write!(f, "ended by Ctrl-A x"),
            Self::Signal(signal) => match signal_hook::low_level::signal_name(*signal) {
                Some(name) => write!(f, "ended by {name}"),
                None => write!(f, "ended by signal {signal}"),
            },
        }
    }
}

/// The first outcome that anybody reports; it is the reason of what comes after.
#[derive(Debug)]
pub struct FirstOutcome {
    outcome: OnceLock<Arc<Outcome>>,
    event: EventFd,
}

impl FirstOutcome {
    /// None yet.
    ///
    /// # Errors
    /// When there can be no eventfd.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            outcome: OnceLock::new(),
            event: EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?,
        })
    }

    /// Reports one.
    pub fn report(&self, outcome: Outcome) {
        match self.outcome.set(Arc::new(outcome)) {
            Ok(()) => {
                if let Err(error) = self.event.write(1) {
                    log::error!("cannot wake the main thread: {error}");
                }
            }
            Err(later) => log::debug!("while ending: {later}"),
        }
    }

    /// Whether there is one.
    pub fn is_reported(&self) -> bool {
        self.outcome.get().is_some()
    }

    /// The first one, if there is one.
    pub fn get(&self) -> Option<Arc<Outcome>> {
        self.outcome.get().cloned()
    }

    /// Readable once there is one.
    pub fn event(&self) -> &EventFd {
        &self.event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_outcome_stays() {
        let first = FirstOutcome::new().unwrap();
        assert!(!first.is_reported());
        assert!(first.event().read().is_err());
        first.report(Outcome::Signal(libc::SIGTERM));
        first.report(Outcome::PowerOff);
        assert_eq!(first.event().read().unwrap(), 1);
        assert!(matches!(
            *first.get().unwrap(),
            Outcome::Signal(libc::SIGTERM)
        ));
    }

    #[test]
    fn messages_are_one_line() {
        let outcomes = [
            Outcome::PowerOff,
            Outcome::DebugExit { value: 42 },
            Outcome::TripleFault { vcpu: 1, at: None },
            Outcome::EntryFailed {
                vcpu: 0,
                reason: 0x8000_0021,
                cpu: 3,
            },
            Outcome::ConsoleFailed(io::Error::from_raw_os_error(libc::EPIPE)),
            Outcome::Signal(libc::SIGTERM),
        ];
        for outcome in outcomes {
            let message = outcome.to_string();
            assert!(!message.contains('\n'), "{message}");
        }
        assert_eq!(
            Outcome::Signal(libc::SIGTERM).to_string(),
            "ended by SIGTERM"
        );
    }
}
