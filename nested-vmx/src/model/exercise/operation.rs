// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What can happen in a history, and histories from bytes.

use super::exits;
use crate::exit_reason::ExitReason;
use crate::interruption::{Event, EventType};
use crate::l0::{ExitInformation, PendingException};
use crate::model::L2Instruction;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// L1 executes VMXON.
    Vmxon,
    /// L1 writes a VMCS, makes it current, and launches it.
    Launch {
        /// Which controls it has.
        seed: u32,
        /// What it injects.
        inject: Option<Event>,
    },
    /// L1 resumes the current VMCS.
    Resume {
        /// What it injects.
        inject: Option<Event>,
    },
    /// The guest that runs executes some VMX instruction with this operand.
    Instruction(u8, u64),
    /// An external interrupt arrives.
    Interrupt(u8),
    /// The interrupt controller masks everything, or nothing.
    Mask(bool),
    /// An NMI arrives.
    Nmi,
    /// An INIT signal arrives.
    Init,
    /// A start-up IPI arrives.
    Sipi(u8),
    /// An SMI arrives.
    Smi,
    /// Something shuts the guest down.
    TripleFault,
    /// L0 raises an exception of L2's.
    Exception(PendingException),
    /// Time passes, in ticks of the TSC.
    Tick(u32),
    /// L2 will do this.
    Script(L2Instruction),
    /// L0's loop goes round once.
    Step,
    /// The guest executes RSM.
    LeaveSmm,
    /// The virtual processor is reset.
    Reset,
    /// L0 emulated an instruction of L2's.
    Emulated,
    /// The virtual processor moves to another machine.
    Migrate,
    /// L1 takes what waits for it.
    L1TakesEvents,
}

/// Takes numbers from bytes; 0 when there are none left.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&first, rest)) => {
                self.0 = rest;
                first
            }
            None => 0,
        }
    }

    fn word(&mut self) -> u32 {
        u32::from_le_bytes([self.next(), self.next(), self.next(), self.next()])
    }
}

impl Operation {
    /// The history that these bytes are. Any bytes are one.
    pub fn history(bytes: &[u8]) -> impl Iterator<Item = Self> {
        let mut bytes = Bytes(bytes);
        // A number for each launch, to tell what it injects from everything else.
        let mut launches = 0_u16;
        core::iter::from_fn(move || {
            (!bytes.0.is_empty()).then(|| Self::next(&mut bytes, &mut launches))
        })
    }

    fn next(bytes: &mut Bytes<'_>, launches: &mut u16) -> Self {
        match bytes.next() % 32 {
            0 => Self::Vmxon,
            1..=4 => Self::Launch {
                seed: bytes.word(),
                inject: injection(bytes.next(), launches),
            },
            5 | 6 => Self::Resume {
                inject: injection(bytes.next(), launches),
            },
            7 => {
                let number = bytes.next();
                let operand = u64::from(bytes.word());
                Self::Instruction(number, operand)
            }
            8..=10 => Self::Interrupt(bytes.next() | 0x20),
            11 => Self::Mask(bytes.next() & 1 != 0),
            12 | 13 => Self::Nmi,
            14 => Self::Init,
            15 => Self::Sipi(bytes.next()),
            16 => Self::Smi,
            17 => match bytes.next() {
                // Rare: it ends what goes on.
                0..=15 => Self::TripleFault,
                _ => Self::Emulated,
            },
            18 => Self::Exception(match bytes.next() % 3 {
                0 => PendingException::page_fault(2, 0x1234),
                1 => PendingException::debug_trap(1 << 14),
                _ => PendingException::fault(6, None),
            }),
            19 => Self::Tick(u32::from(bytes.next()) << 5),
            20..=22 => Self::Script(script(bytes.next())),
            23 => Self::LeaveSmm,
            24 => match bytes.next() {
                0..=15 => Self::Reset,
                _ => Self::L1TakesEvents,
            },
            25 => Self::Migrate,
            _ => Self::Step,
        }
    }
}

/// What L1 injects. Exceptions carry a number in their error code, so that each is another one.
fn injection(byte: u8, launches: &mut u16) -> Option<Event> {
    *launches = launches.wrapping_add(1) & 0x7fff;
    match byte % 6 {
        0 => None,
        1 => Some(Event::external_interrupt(byte | 0x20)),
        2 => Some(Event::NMI),
        3 => Some(Event {
            instruction_length: 2,
            ..Event::new(EventType::SoftwareInterrupt, 0x80)
        }),
        4 => Some(Event::new(EventType::Other, 0)),
        _ => Some(Event::exception(13, Some((*launches).into()))),
    }
}

fn script(byte: u8) -> L2Instruction {
    match byte % 16 {
        0 | 1 => L2Instruction::Nop,
        2 => L2Instruction::Cli,
        3 => L2Instruction::Sti,
        4 => L2Instruction::MovSs,
        5 => L2Instruction::Hlt,
        6 => L2Instruction::Iret,
        7 => exits(ExitReason::CPUID),
        8 => exits(ExitReason::EPT_VIOLATION),
        9 => exits(ExitReason::PREEMPTION_TIMER),
        10 => exits(ExitReason::VMCALL),
        // For L0, and for L1.
        11 | 12 => L2Instruction::FailDelivery(ExitInformation::new(ExitReason::EPT_VIOLATION)),
        13 => L2Instruction::FailDelivery(ExitInformation::new(ExitReason::TASK_SWITCH)),
        14 => L2Instruction::Refuse,
        _ => L2Instruction::FailEntry(ExitReason::ENTRY_FAILURE_GUEST_STATE, 0),
    }
}
