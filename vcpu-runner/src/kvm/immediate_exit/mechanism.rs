// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The mechanisms by which an entry is made short, and what each is good for.

use std::fmt;
use std::time::Duration;

use kvm_bindings::kvm_guest_debug;
use kvm_ioctls::VcpuFd;
use thiserror::Error;

use super::linear_memory::Linear;
use super::situation::Situation;
use super::thread_timer::ThreadTimer;
use crate::ExitKind;
use crate::kvm::run_area::RunArea;

/// A way to make KVM come back soon after it has entered the guest.
///
/// | mechanism | guarantee | where it can be used |
/// |---|---|---|
/// | [`Step`](Self::Step) | one instruction, where no event is delivered | not while the guest debugs itself (TF, DR7), nor at HLT or an instruction that reads or writes RFLAGS as a whole; user code, and events, only on hosts that were seen to step them |
/// | [`StepAndBreakpoint`](Self::StepAndBreakpoint) | no instruction of the event's handler | an event is to be delivered, its handler can be found through the guest's IDT or IVT, a debug register is free, and the guest does not debug itself |
/// | [`InterruptWindow`](Self::InterruptWindow) | none on processors that KVM lets run the guest | no in-kernel PIC, no event, interrupts on |
/// | [`Timer`](Self::Timer) | none; as few instructions as the delay lets through | everywhere |
/// | [`BlockedSignal`](Self::BlockedSignal) | none; as [`Timer`](Self::Timer), and no signal handler ever runs | everywhere |
///
/// The first three are backed by a timer, for the case that the guest does not come to where it
/// would be stopped: the entry ends all the same, later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// KVM's single step (KVM_GUESTDBG_SINGLESTEP). Mostly made of RFLAGS.TF, which the delivery of
    /// an event clears.
    Step,
    /// Single step, and a hardware breakpoint (KVM_GUESTDBG_USE_HW_BP) on the first instruction of
    /// the handler of each event that is to be delivered.
    StepAndBreakpoint,
    /// `kvm_run.request_interrupt_window`: KVM comes back when the guest could take an interrupt,
    /// which it can at once.
    InterruptWindow,
    /// A timer of this thread's, which sends a signal that an empty handler takes.
    Timer,
    /// The same with the signal blocked, but for KVM_RUN (KVM_SET_SIGNAL_MASK), and taken by
    /// `sigtimedwait` afterwards: the counterpart of acknowledging the interrupt on exit.
    BlockedSignal,
}

impl Mechanism {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Step,
        Self::StepAndBreakpoint,
        Self::InterruptWindow,
        Self::Timer,
        Self::BlockedSignal,
    ];

    /// Its name, for tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::StepAndBreakpoint => "step+breakpoint",
            Self::InterruptWindow => "interrupt-window",
            Self::Timer => "timer",
            Self::BlockedSignal => "blocked-signal",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What keeps a mechanism from being used now.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unmet {
    /// No event is to be delivered, so there is no handler to stop at.
    #[error("no event is to be delivered")]
    NoEvent,
    /// An event is to be delivered, which this mechanism cannot stop at.
    #[error("an event is to be delivered")]
    Event,
    /// The guest has RFLAGS.TF set: stepping it would take its own steps away.
    #[error("the guest single-steps itself")]
    GuestSteps,
    /// The guest's own breakpoints (DR7) are on: KVM gives their exceptions to whoever debugs.
    #[error("the guest has breakpoints of its own on")]
    GuestBreakpoints,
    /// The guest runs user code, which is not stepped on this host as far as is known.
    #[error("the guest runs user code, which this host does not step")]
    UserCode,
    /// The guest is in virtual-8086 mode.
    #[error("the guest is in virtual-8086 mode")]
    Virtual8086,
    /// The instruction at RIP would show the guest that it is being stepped.
    #[error("the guest's next instruction reads or writes RFLAGS as a whole")]
    FlagsInstruction,
    /// The instruction at RIP, or the first of the event's handler, is HLT: a step would hide it.
    #[error("the guest's next instruction is HLT")]
    Halt,
    /// All four debug registers are used by the debugger.
    #[error("all debug registers are in use")]
    NoDebugRegister,
    /// The guest's interrupts are off, so no window is open.
    #[error("the guest takes no interrupts now")]
    InterruptsOff,
    /// The window exists only where the PIC is not in the kernel.
    #[error("the PIC is in the kernel")]
    PicInKernel,
    /// The handler of an event cannot be found.
    #[error("the handler of vector {vector} cannot be found: {reason}")]
    NoHandler {
        /// The event's vector.
        vector: u8,
        /// What is in the way.
        reason: NoHandler,
    },
}

/// Why an event's handler cannot be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NoHandler {
    /// The table ends before the vector.
    #[error("the table of handlers ends before it")]
    BeyondLimit,
    /// The gate is not present.
    #[error("its gate is not present")]
    NotPresent,
    /// The gate is neither an interrupt nor a trap gate.
    #[error("its gate has type {0:#x}")]
    GateType(u8),
    /// The code segment is not in a descriptor table.
    #[error("its code segment {0:#x} is in no descriptor table")]
    Segment(u16),
    /// The linear address maps to no memory.
    #[error("there is no memory at linear address {0:#x}")]
    Memory(u64),
}

/// What a mechanism works with during one attempt.
pub(super) struct Tools<'a> {
    pub(super) fd: &'a VcpuFd,
    pub(super) area: &'a mut RunArea,
    pub(super) timer: &'a mut ThreadTimer,
    pub(super) memory: &'a Linear<'a>,
    /// What the user set with KVM_SET_GUEST_DEBUG.
    pub(super) debug: &'a kvm_guest_debug,
    /// Whether the user wants to know when the interrupt window opens.
    pub(super) wants_window: bool,
    /// After which time an entry ends that nothing else has ended.
    pub(super) backstop: Duration,
    /// Whether a single step of guest user code was seen to work.
    pub(super) steps_user_code: bool,
    /// Whether KVM can hold back interrupts for an entry (KVM_GUESTDBG_BLOCKIRQ).
    pub(super) can_block_interrupts: bool,
}

/// A debug exit, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The mechanism's: nobody else is to see it.
    Mechanism,
    /// The user's, who asked for it.
    User,
}

/// How KVM_RUN came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With an exit.
    Exit(ExitKind),
    /// With EINTR.
    Interrupted,
}

/// One mechanism, ready to be used on one vCPU.
pub(super) trait Apply {
    /// What keeps it from being used in this situation; what it needs to know is kept for
    /// [`arm`](Self::arm).
    fn prepare(&mut self, situation: &Situation, tools: &Tools<'_>) -> Result<(), Refusal>;

    /// The last step before KVM_RUN.
    fn arm(&mut self, tools: &mut Tools<'_>) -> Result<(), kvm_ioctls::Error>;

    /// The first step after KVM_RUN: undoes [`arm`](Self::arm), also where that failed half-way.
    fn disarm(&mut self, tools: &mut Tools<'_>) -> Result<(), kvm_ioctls::Error>;

    /// Whose this exit is, KVM_EXIT_DEBUG or KVM_EXIT_IRQ_WINDOW_OPEN.
    fn owner(&self, tools: &Tools<'_>) -> Owner;

    /// The guest may have been entered, from `before` to `after`: removes what the mechanism has left
    /// in the guest and says how many instructions ran, if it was and that is known.
    fn settle(
        &mut self,
        before: &Situation,
        after: &Situation,
        end: End,
        tools: &Tools<'_>,
    ) -> Option<u64>;

    /// The attempt is over: it entered the guest, or did not.
    fn learn(&mut self, entered: bool);
}

/// Why a mechanism is not used.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Refusal {
    Unmet(Unmet),
    Ioctl(kvm_ioctls::Error),
}

impl From<Unmet> for Refusal {
    fn from(unmet: Unmet) -> Self {
        Self::Unmet(unmet)
    }
}

impl From<kvm_ioctls::Error> for Refusal {
    fn from(error: kvm_ioctls::Error) -> Self {
        Self::Ioctl(error)
    }
}
