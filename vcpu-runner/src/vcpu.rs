// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the loop needs of a vCPU.

use std::sync::Arc;

use crate::{BriefError, BriefRun, Exit, NotEntered, RunAreaDefect};

/// A virtual CPU that the loop can enter. [`KvmVcpu`](crate::kvm::KvmVcpu) is the real one.
pub trait Vcpu {
    /// Its skip flag.
    type Skip: SkipFlag;

    /// The flag that makes [`run`](Self::run) come back without entering the guest. It is asked for
    /// once, before the first entry.
    fn skip_flag(&self) -> Arc<Self::Skip>;

    /// Finishes the I/O of the last exit, if there is any; then, unless the skip flag is set,
    /// enters the guest and stays in it until it exits.
    ///
    /// # Errors
    /// [`RunError::Interrupted`] when there was nothing (more) to finish and the skip flag is set,
    /// or when a signal came while the guest ran. Only after it are the vCPU's registers those that
    /// the guest sees.
    fn run(&mut self) -> Result<Exit<'_>, RunError>;

    /// Whether an event waits that the next entry would deliver, so that a guest that has halted is
    /// halted no longer.
    fn has_event(&self) -> bool {
        false
    }

    /// Enters the guest really, but for as little as possible: what is to be injected is delivered,
    /// and the guest comes back. The I/O of the last exit is finished when this is called.
    ///
    /// Whether the guest was entered is verified, and an entry that was missed is tried again, with
    /// a bound. A vCPU without a way to do it says [`NotEntered::NotSetUp`], as here.
    ///
    /// # Errors
    /// [`BriefError`]; after each of them the state of the vCPU is what it was, but for what
    /// [`BriefError::Run`] says.
    fn run_briefly(&mut self) -> Result<BriefRun<'_>, BriefError> {
        Err(NotEntered::NotSetUp.into())
    }
}

/// The flag that makes the next [`Vcpu::run`] skip the guest: `kvm_run.immediate_exit`
/// (KVM's `api.rst`, 5, KVM_CAP_IMMEDIATE_EXIT).
///
/// It does NOT enter the guest and come back at once; it does not enter at all.
pub trait SkipFlag: Send + Sync + 'static {
    /// Sets it. From any thread; visible to a [`Vcpu::run`] that begins later and to one that is
    /// interrupted by a signal sent afterwards.
    fn set(&self);

    /// Clears it. From the vCPU's thread only.
    fn clear(&self);
}

impl<S: SkipFlag> SkipFlag for Arc<S> {
    fn set(&self) {
        (**self).set();
    }

    fn clear(&self) {
        (**self).clear();
    }
}

/// Why [`Vcpu::run`] came back without an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunError {
    /// EINTR.
    Interrupted,
    /// EAGAIN: the vCPU waited to be started by another one (INIT, SIPI) and may be so now.
    Again,
    /// Any other error number: the vCPU cannot be run any more.
    Failed(i32),
    /// There was an exit, but what it says makes no sense.
    Defect(RunAreaDefect),
}

impl From<RunAreaDefect> for RunError {
    fn from(defect: RunAreaDefect) -> Self {
        Self::Defect(defect)
    }
}

impl RunError {
    /// From KVM_RUN's error number.
    pub const fn from_errno(errno: i32) -> Self {
        match errno {
            libc::EINTR => Self::Interrupted,
            libc::EAGAIN => Self::Again,
            other => Self::Failed(other),
        }
    }
}
