// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What can go wrong around a vCPU's thread.

use std::io;
use std::sync::Arc;

use thiserror::Error;

use crate::NotEntered;

/// Why an operation on a vCPU, its thread or its handle failed.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The vCPU's thread has ended, so it can answer nothing any more.
    #[error("the vCPU's thread has ended: {0}")]
    Ended(Ending),
    /// The deadline passed before the vCPU's thread answered. What was asked stays asked.
    #[error("the vCPU's thread did not answer before the deadline; what was asked stays asked")]
    DeadlinePassed,
    /// The vCPU's own thread asked for something that it would have to wait for itself.
    #[error("the vCPU's own thread cannot wait for itself; return a `Flow` from the handler")]
    OwnThread,
    /// Somebody resumed the vCPU before its thread had come to the pause.
    #[error("the pause was taken back by a resume before the vCPU's thread came to it; ask again")]
    PauseTakenBack,
    /// The kick signal could not be sent to the vCPU's thread (`pthread_kill`).
    #[error(
        "cannot send signal {signal} to the vCPU's thread: {source}; does a seccomp filter forbid tgkill?"
    )]
    SendSignal {
        /// The signal's number.
        signal: i32,
        /// What `pthread_kill` returned.
        source: Arc<io::Error>,
    },
    /// This signal cannot be used as the kick.
    #[error("signal {signal} cannot be the kick signal: {reason}")]
    UnusableSignal {
        /// The signal's number.
        signal: i32,
        /// Why.
        reason: UnusableSignal,
    },
    /// A signal's handler or mask could not be set.
    #[error("cannot set up signal {signal} for kicks: {source}")]
    SetUpSignal {
        /// The signal's number.
        signal: i32,
        /// What `sigaction` or `pthread_sigmask` returned.
        source: Arc<io::Error>,
    },
    /// The thread could not be started.
    #[error("cannot start the vCPU's thread: {0}")]
    Spawn(Arc<io::Error>),
    /// KVM cannot skip the guest, so no vCPU can be run without losing kicks.
    #[error("KVM lacks KVM_CAP_IMMEDIATE_EXIT; Linux 4.11 or later has it")]
    NoImmediateExit,
    /// The run area's size could not be had (KVM_GET_VCPU_MMAP_SIZE).
    #[error("cannot ask KVM for the size of a vCPU's run area: {0}")]
    RunAreaSize(Arc<io::Error>),
    /// The vCPU's run area could not be mapped.
    #[error(
        "cannot map the vCPU's run area ({size} bytes): {source}; is memory short, or a limit (ulimit -v) in the way?"
    )]
    MapRunArea {
        /// The size that KVM asks for (KVM_GET_VCPU_MMAP_SIZE).
        size: usize,
        /// What `mmap` returned.
        source: Arc<io::Error>,
    },
    /// KVM_RUN failed. The vCPU cannot be entered again.
    #[error("KVM_RUN failed: {0}; the vCPU cannot be used any more")]
    Run(Arc<io::Error>),
    /// The vCPU's state could not be read before or after an immediate exit, or what was set for it
    /// could not be taken back.
    #[error("KVM does not give or take the vCPU's state: {0}; the vCPU cannot be used any more")]
    VcpuState(Arc<io::Error>),
    /// KVM wrote something into the run area that its API does not allow.
    #[error("KVM's run area makes no sense: {0}")]
    RunArea(RunAreaDefect),
    /// Pending I/O did not come to its end.
    #[error(
        "the vCPU's pending I/O had not ended after {turns} times KVM_RUN; the vCPU cannot be used any more"
    )]
    IoWithoutEnd {
        /// How often KVM_RUN was called for it.
        turns: u32,
    },
    /// An immediate exit was asked for, and the guest not entered.
    #[error("no immediate exit was made: {0}")]
    NotEntered(#[from] NotEntered),
    /// An operation on many vCPUs failed on this one, the first that it failed on.
    #[error("vCPU {index} of those given: {source}")]
    OneOfMany {
        /// Its index in the slice.
        index: usize,
        /// What failed.
        source: Box<Error>,
    },
    /// Another thread than the vCPU's own has entered it.
    #[error(
        "the vCPU is in mode {mode:?} though its thread is outside: is a second loop running it?"
    )]
    TwoLoops {
        /// The mode that the loop found.
        mode: vcpu_requests::Mode,
    },
}

/// How a vCPU's thread came to its end, as everybody who holds a handle may know it. Whoever joins
/// the thread gets the whole, see [`Outcome`](crate::Outcome).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Ending {
    /// It was stopped, by [`VcpuHandle::stop`](crate::VcpuHandle::stop) or by its handler.
    #[error("it was stopped")]
    Stopped,
    /// The handler or KVM failed.
    #[error("it failed; joining it tells why")]
    Failed,
    /// The handler panicked.
    #[error("it panicked: {0}")]
    Panicked(Arc<str>),
    /// Its runner was dropped before it ran.
    #[error("its runner was dropped before it ran")]
    NeverRan,
}

/// Why a signal cannot be used for kicks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UnusableSignal {
    /// No such signal, or one that the C library keeps for itself.
    #[error("there is no such signal to be had")]
    Invalid,
    /// Real-time signals queue, so that sending one fails (EAGAIN) when the user's queue is full:
    /// a kick would be lost. A standard signal cannot fail.
    #[error(
        "real-time signals can fail with EAGAIN when the user's queue is full; take a standard one"
    )]
    RealTime,
    /// SIGKILL and SIGSTOP have no handlers, SIGSEGV and its like are the CPU's own.
    #[error("it cannot be handled, or it reports a fault of the program itself")]
    Reserved,
    /// The program handles this signal already.
    #[error("the program has another handler for it; choose one with `KickSignal::new`")]
    InUse,
}

/// In what way a run area is not as KVM's API says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RunAreaDefect {
    /// It is smaller than `struct kvm_run`.
    #[error("{0} bytes are too few for struct kvm_run")]
    TooSmall(usize),
    /// An exit's data lie outside it.
    #[error("data at offset {offset} with {len} bytes lie outside")]
    DataOutside {
        /// Offset of the data.
        offset: u64,
        /// Their length in bytes.
        len: u64,
    },
    /// An access has a size that no instruction has.
    #[error("no access has {0} bytes")]
    AccessSize(u32),
    /// An exit has more words of data than its structure has room for.
    #[error("{0} words of data are more than the exit has room for")]
    Words(u32),
    /// An I/O exit is neither a read nor a write.
    #[error("I/O direction {0} is neither in nor out")]
    Direction(u8),
}

impl Error {
    pub(crate) fn vcpu_state(errno: i32) -> Self {
        Self::VcpuState(Arc::new(io::Error::from_raw_os_error(errno)))
    }

    pub(crate) fn run(errno: i32) -> Self {
        Self::Run(Arc::new(io::Error::from_raw_os_error(errno)))
    }
}
