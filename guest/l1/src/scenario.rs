// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One launch of L2 and what follows from it.

use nested_vmx::capability::MiscFeatures;
use nested_vmx::controls::{
    EntryControls, ExitControls, PinControls, PrimaryControls, SecondaryControls,
};
use nested_vmx::vmcs::Field;

/// The vector of the external interrupt that waits for L1.
pub const VECTOR: u8 = 0xe1;

/// How many ticks of the local APIC's timer [`L1Event::Timer`] takes: long enough for L2 to be
/// entered and to halt on the slowest machine.
pub(crate) const TIMER_TICKS: u32 = 20_000_000;

/// What waits for L1 when it enters L2. The numbers are the guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum L1Event {
    /// Nothing.
    None = 0,
    /// An external interrupt with vector [`VECTOR`].
    ExternalInterrupt = 1,
    /// A non-maskable interrupt.
    Nmi = 2,
    /// An INIT signal.
    Init = 3,
    /// An external interrupt with vector [`VECTOR`], which does not wait yet but comes soon.
    Timer = 4,
}

/// What L2 runs. The numbers are those of the assembler's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Program {
    /// VMCALL.
    Call = 0,
    /// NOPs, then VMCALL.
    Nops = 1,
    /// STI, NOPs, then VMCALL.
    AllowInterrupts = 2,
    /// HLT, NOP, then VMCALL.
    Halt = 3,
    /// CPUID, then VMCALL.
    Identify = 4,
    /// INT 0x60, then VMCALL.
    Interrupt = 5,
    /// Increments a counter twice, then VMCALL.
    Count = 6,
    /// Sends L1 an interrupt with vector [`VECTOR`], then VMCALL.
    SendInterrupt = 7,
    /// Sends L1 an NMI, then VMCALL.
    SendNmi = 8,
    /// Sends L1 an INIT signal, then VMCALL.
    SendInit = 9,
    /// Increments a counter for ever.
    Spin = 10,
}

impl Program {
    /// All of them, by number.
    pub const ALL: [Self; 11] = [
        Self::Call,
        Self::Nops,
        Self::AllowInterrupts,
        Self::Halt,
        Self::Identify,
        Self::Interrupt,
        Self::Count,
        Self::SendInterrupt,
        Self::SendNmi,
        Self::SendInit,
        Self::Spin,
    ];
}

/// The controls that a scenario needs to be 1. L1 sets those to 1 that the processor wants, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controls {
    /// Pin-based.
    pub pin: PinControls,
    /// Primary processor-based.
    pub primary: PrimaryControls,
    /// Secondary processor-based.
    pub secondary: SecondaryControls,
    /// Of VM exits.
    pub exit: ExitControls,
    /// Of VM entries.
    pub entry: EntryControls,
}

impl Controls {
    /// What an L1 and an L2 in 64-bit mode need.
    pub(crate) const LONG: Self = Self {
        pin: PinControls::empty(),
        primary: PrimaryControls::empty(),
        secondary: SecondaryControls::empty(),
        exit: ExitControls::HOST_ADDRESS_SPACE_SIZE,
        entry: EntryControls::IA32E_MODE_GUEST,
    };
}

/// A launch of L2, and what is to be so before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// What the trace calls it.
    pub name: String,
    /// The controls.
    pub controls: Controls,
    /// What the processor needs to have of the miscellaneous features.
    pub misc: MiscFeatures,
    /// The fields in which it differs from what all scenarios share, or that only it has. Later
    /// ones win.
    pub fields: Vec<(Field, u64)>,
    /// What waits for L1.
    pub event: L1Event,
    /// Whether it is VMRESUME that enters L2, after a VMLAUNCH of an L2 that only calls.
    pub resume: bool,
    /// Whether L1 executes STI just before.
    pub interrupts_on: bool,
    /// After how many exits L1 gives up.
    pub most_exits: u64,
}
