// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A processor that delivers what is injected and then runs a script.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::controls::PrimaryControls;
use crate::exit_reason::ExitReason;
use crate::interruption::{Event, EventType};
use crate::l0::{EnterL2, ExitInformation, Hardware, HardwareExit, Interruptibility};
use crate::registers::{activity, interruptibility, rflags};
use crate::vmcs::{Field, Vmcs};

/// What L2 does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L2Instruction {
    /// Nothing.
    Nop,
    /// Clears RFLAGS.IF.
    Cli,
    /// Sets RFLAGS.IF; interrupts are blocked for one more instruction.
    Sti,
    /// Blocks events for one more instruction.
    MovSs,
    /// Waits for an event.
    Hlt,
    /// Ends blocking by NMI.
    Iret,
    /// A VM exit that says this comes instead.
    Exit(ExitInformation),
    /// The delivery of the event that is injected next ends with this VM exit. Without an event it
    /// is an exit like any other.
    FailDelivery(ExitInformation),
    /// The next entry does not happen: the processor refuses vmcs02.
    Refuse,
    /// The next entry fails late, with this exit reason and qualification.
    FailEntry(ExitReason, u64),
}

/// The processor.
#[derive(Debug)]
pub struct Cpu {
    state: Box<Vmcs>,
    script: VecDeque<L2Instruction>,
    delivered: Vec<Event>,
    registers: [u64; 16],
    instructions: u64,
    entries: u64,
}

impl Cpu {
    /// A processor whose guest-state area is that of `state`.
    pub fn new(state: &Vmcs) -> Self {
        Self {
            state: Box::new(state.clone()),
            script: VecDeque::new(),
            delivered: Vec::new(),
            registers: [0; 16],
            instructions: 0,
            entries: 0,
        }
    }

    /// L2 will do this after what it is to do already. Without a script it does nothing and comes
    /// back.
    pub fn push(&mut self, instruction: L2Instruction) {
        self.script.push_back(instruction);
    }

    /// The events that were delivered to L2, in order.
    pub fn delivered(&self) -> &[Event] {
        &self.delivered
    }

    /// Takes the list of the events that were delivered.
    pub fn take_delivered(&mut self) -> Vec<Event> {
        core::mem::take(&mut self.delivered)
    }

    /// Forgets what L2 was to do.
    pub fn clear_script(&mut self) {
        self.script.clear();
    }

    /// How many instructions L2 executed.
    pub const fn instructions(&self) -> u64 {
        self.instructions
    }

    /// The general-purpose registers, to be changed.
    pub const fn registers_mut(&mut self) -> &mut [u64; 16] {
        &mut self.registers
    }

    /// How often L2 was entered.
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// The state of the guest that runs.
    pub const fn state(&self) -> &Vmcs {
        &self.state
    }

    /// The state of the guest that runs, to be changed.
    pub const fn state_mut(&mut self) -> &mut Vmcs {
        &mut self.state
    }

    fn set_blocking(&mut self, state: u32) {
        self.state
            .write(Field::GuestInterruptibilityInfo, state.into());
    }

    /// Enters L2.
    pub fn enter(&mut self, how: &EnterL2) -> HardwareExit {
        match self.script.front().copied() {
            Some(L2Instruction::Refuse) => {
                self.script.pop_front();
                return HardwareExit::Refused(
                    crate::instruction_error::InstructionError::InvalidControls,
                );
            }
            Some(L2Instruction::FailEntry(reason, qualification)) => {
                self.script.pop_front();
                return HardwareExit::EntryFailure {
                    reason,
                    qualification,
                };
            }
            Some(L2Instruction::FailDelivery(information)) => {
                self.script.pop_front();
                self.entries += 1;
                return HardwareExit::Exit {
                    information,
                    vectoring: how.injection,
                };
            }
            _ => {}
        }
        self.entries += 1;
        self.state
            .write(Field::GuestActivityState, activity::ACTIVE.into());
        if let Some(event) = how.injection {
            self.deliver(event);
        }
        let exit = |reason| HardwareExit::Exit {
            information: ExitInformation::new(reason),
            vectoring: None,
        };
        if how.immediate_exit {
            return HardwareExit::Returned { vectoring: None };
        }
        if how.preemption_timer == Some(0) {
            return exit(ExitReason::PREEMPTION_TIMER);
        }
        self.deliver_pending_debug();
        loop {
            if let Some(reason) = self.window(how) {
                return exit(reason);
            }
            if let Some(end) = self.execute() {
                return end;
            }
            if self
                .state
                .primary()
                .contains(PrimaryControls::MONITOR_TRAP_FLAG)
            {
                return exit(ExitReason::MONITOR_TRAP_FLAG);
            }
        }
    }

    fn deliver(&mut self, event: Event) {
        self.delivered.push(event);
        let mut blocking = self.state.guest_interruptibility_info()
            & !(interruptibility::STI | interruptibility::MOV_SS);
        if event.kind == EventType::Nmi {
            blocking |= interruptibility::NMI;
        }
        self.set_blocking(blocking);
        if event.kind == EventType::ExternalInterrupt {
            let flags = self.state.guest_rflags() & !rflags::IF;
            self.state.write(Field::GuestRflags, flags);
        }
        self.state
            .write(Field::GuestActivityState, activity::ACTIVE.into());
    }

    /// Pending debug exceptions come before the first instruction, unless they are blocked (SDM
    /// volume 3, section 28.7.3). The model gives them to L2.
    fn deliver_pending_debug(&mut self) {
        const HELD: u32 = interruptibility::STI | interruptibility::MOV_SS;
        let pending = self.state.guest_pending_dbg_exceptions();
        if pending != 0 && self.state.guest_interruptibility_info() & HELD == 0 {
            self.state.write(Field::GuestPendingDbgExceptions, 0);
            self.deliver(Event::exception(1, None));
        }
    }

    /// Whether a window that somebody waits for is open.
    fn window(&self, how: &EnterL2) -> Option<ExitReason> {
        let primary = self.state.primary();
        let blocking = self.state.guest_interruptibility_info();
        let by_instruction = blocking & (interruptibility::STI | interruptibility::MOV_SS) != 0;
        let wants_nmi = how.nmi_window || primary.contains(PrimaryControls::NMI_WINDOW_EXITING);
        if wants_nmi && !by_instruction && blocking & interruptibility::NMI == 0 {
            return Some(ExitReason::NMI_WINDOW);
        }
        let wants_interrupt =
            how.interrupt_window || primary.contains(PrimaryControls::INTERRUPT_WINDOW_EXITING);
        let enabled = self.state.guest_rflags() & rflags::IF != 0;
        (wants_interrupt && enabled && !by_instruction).then_some(ExitReason::INTERRUPT_WINDOW)
    }

    /// One instruction; or the end of this entry.
    fn execute(&mut self) -> Option<HardwareExit> {
        let Some(instruction) = self.script.pop_front() else {
            return Some(HardwareExit::Returned { vectoring: None });
        };
        let exit = |information| {
            Some(HardwareExit::Exit {
                information,
                vectoring: None,
            })
        };
        let blocking = self.state.guest_interruptibility_info();
        let flags = self.state.guest_rflags();
        let mut next_blocking = blocking & !(interruptibility::STI | interruptibility::MOV_SS);
        match instruction {
            L2Instruction::Exit(information) | L2Instruction::FailDelivery(information) => {
                return exit(information);
            }
            L2Instruction::Refuse | L2Instruction::FailEntry(..) => {
                // For the entry that comes next.
                self.script.push_front(instruction);
                return Some(HardwareExit::Returned { vectoring: None });
            }
            L2Instruction::Hlt => {
                if self.state.primary().contains(PrimaryControls::HLT_EXITING) {
                    return exit(ExitInformation::new(ExitReason::HLT));
                }
                self.state
                    .write(Field::GuestActivityState, activity::HLT.into());
            }
            L2Instruction::Nop => {}
            L2Instruction::Cli => self.state.write(Field::GuestRflags, flags & !rflags::IF),
            L2Instruction::Sti => {
                self.state.write(Field::GuestRflags, flags | rflags::IF);
                if flags & rflags::IF == 0 {
                    next_blocking |= interruptibility::STI;
                }
            }
            L2Instruction::MovSs => next_blocking |= interruptibility::MOV_SS,
            L2Instruction::Iret => next_blocking &= !interruptibility::NMI,
        }
        self.set_blocking(next_blocking);
        self.instructions += 1;
        let rip = self.state.guest_rip().wrapping_add(1);
        self.state.write(Field::GuestRip, rip);
        (instruction == L2Instruction::Hlt).then_some(HardwareExit::Returned { vectoring: None })
    }
}

impl Hardware for Cpu {
    fn load(&mut self, vmcs: &Vmcs) {
        (*self.state).clone_from(vmcs);
    }

    fn store(&self, vmcs: &mut Vmcs) {
        for &field in Field::ALL {
            if field.kind() == crate::vmcs::Kind::Guest {
                vmcs.write(field, self.state.read(field));
            }
        }
    }

    fn interruptibility(&self) -> Interruptibility {
        Interruptibility {
            rflags: self.state.guest_rflags(),
            state: self.state.guest_interruptibility_info(),
        }
    }

    fn registers(&self) -> [u64; 16] {
        self.registers
    }
}
