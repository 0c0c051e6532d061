// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Single instructions of L2's that the processor executes.

use iced_x86::FlowControl;

use super::below_stack::BelowStack;
use super::engine::{Came, Delivery, Limit};
use super::error::SoftError;
use super::idt::vector;
use super::instruction::{Fetched, Kind, number};
use super::operands::{all_tables, operands, tables};
use super::space::Fault;
use super::state::CpuState;
use super::vcpu::{Behind, Io, On, Out, SoftVcpu, UserStep};
use super::world::World;
use crate::exit_reason::ExitReason;
use crate::interruption::{Event, EventType};
use crate::l0::{ExitInformation, PendingException};
use crate::paging::Access;
use crate::registers::rflags;

/// A register's value while one instruction is executed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instead {
    pub(super) gpr: usize,
    pub(super) value: u64,
}

/// A register that has another value for an instruction: its number, and its own value.
#[derive(Clone, Copy)]
struct Own(Option<(usize, u64)>);

/// How far L0 looks for what L2 must see of L1's memory, for an instruction and for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// For what is accessed as a rule.
    AsARule,
    /// For all that may be.
    Everywhere,
}

impl On {
    /// How L0 looks, by turns.
    pub(super) const fn looks(self) -> &'static [Look] {
        match self {
            Self::View => &[Look::AsARule, Look::Everywhere],
            Self::Whole => &[Look::AsARule],
        }
    }
}

impl<W: World> SoftVcpu<W> {
    /// L2 executes an instruction itself.
    pub(super) fn step_natively(&mut self, fetched: &Fetched) -> Result<Option<Out>, SoftError> {
        self.step_with(fetched, None)
    }

    /// As [`Self::step_natively`], with another value in one register until the instruction is
    /// executed. Nobody sees that value: an exception is raised anew, with the register as it was.
    pub(super) fn step_with(
        &mut self,
        fetched: &Fetched,
        instead: Option<Instead>,
    ) -> Result<Option<Out>, SoftError> {
        self.prepare_handlers();
        let own = Own(instead.map(|Instead { gpr, value }| {
            let own = self.state.register(gpr);
            self.state.set_register(gpr, value);
            (gpr, own)
        }));
        let before = self.state.clone();
        self.statistics.l2_steps += 1;
        let mut done = None;
        for &look in self.on.looks() {
            let stack = self.look(fetched, look)?;
            let mut limit = self.limit(fetched);
            let mut came = self.attempt(fetched, limit)?;
            if came == Came::Shutdown && limit == Limit::Trap {
                // Not even the trap has a handler: user code is executed as far as the next exit.
                self.restore(&before);
                limit = Limit::Stop;
                came = self.attempt(fetched, limit)?;
            }
            // Finished I/O changes the registers; of a shutdown nothing is left.
            if !matches!(came, Came::Vmm | Came::Shutdown) {
                self.read_registers()?;
            }
            match self.what_kvm_left(came, fetched, &before)? {
                Left::Nothing => {
                    done = Some((came, limit, stack));
                    break;
                }
                Left::Instruction => self.restore(&before),
                Left::Exception(exception) => {
                    self.restore(&before);
                    self.give_back(own);
                    return Ok(self.raise_in_l2(exception));
                }
            }
        }
        let Some((came, limit, stack)) = done else {
            // As KVM itself does with an instruction of an L2 that it cannot emulate.
            self.statistics.l2_not_emulated += 1;
            self.give_back(own);
            let fault = PendingException::fault(vector::INVALID_OPCODE, None);
            return Ok(self.raise_in_l2(fault));
        };
        match came {
            Came::Vmm => {
                self.io = Io::Pending(Behind::Instruction(before.rflags()));
                return Ok(Some(Out::Exit));
            }
            Came::Shutdown => {
                self.restore(&before);
                if own.0.is_some() {
                    self.give_back(own);
                    // What the register had meanwhile may be no stack for an exception.
                    let fault = PendingException::fault(vector::GENERAL_PROTECTION, Some(0));
                    return Ok(self.raise_in_l2(fault));
                }
                // An exception that L1 wants needs no handler in L2, and no stack.
                let likely = self.likely_exception(fetched);
                if likely.exits(self.vmx.vmcs12()) {
                    return Ok(self.raise_in_l2(likely));
                }
                return self.exit(ExitInformation::new(ExitReason::TRIPLE_FAULT), None);
            }
            _ => {}
        }
        if matches!(fetched.kind(), Kind::Wrmsr | Kind::MovDr { .. }) {
            let engine = self.on.of(&mut self.whole, &mut self.for_view);
            engine.read_slow(&mut self.state)?;
        }
        // A step that ends behind a stop has gone over it, unless it was this very instruction.
        let is_next = self.state.rip() == before.rip().wrapping_add(fetched.length());
        let arrived = !is_next && self.back_to_stop(limit);
        self.end_user_step(&before)?;
        self.hide_trap(before.rflags());
        if came == Came::Interrupted && !arrived && self.state.rip() == before.rip() {
            self.give_back(own);
            return Ok(None);
        }
        let frame = self.pushed_frame(&before, fetched.length());
        self.hide_step(fetched, limit, &before, frame);
        self.state.end_shadow();
        let is_exception = fetched.instruction.mnemonic() != iced_x86::Mnemonic::Int;
        if let Some(frame) = frame.filter(|_| is_exception)
            && let Some((vector, error_code)) = self.vector_of(&frame, &before)
        {
            if own.0.is_some() {
                self.unwind_exception(&before, stack.as_ref());
                self.give_back(own);
                return Ok(self.raise_in_l2(PendingException::fault(vector, error_code)));
            }
            return self.exception(vector, error_code, None, &before, stack.as_ref());
        }
        self.give_back(own);
        self.l2_executed(before.rflags());
        Ok(None)
    }

    /// Makes what the instruction needs visible to L2. Returns what is where an exception would push.
    fn look(&mut self, fetched: &Fetched, look: Look) -> Result<Option<BelowStack>, SoftError> {
        let stack = self.with_space(|state, space| {
            // Once more, since what was looked up last is what L2 gets to see.
            let _ = space.check(state.linear_rip(), fetched.instruction.len(), Access::Fetch);
            let _ = operands(fetched, state, space);
            match look {
                Look::AsARule => tables(state, space),
                Look::Everywhere => all_tables(state, space),
            }
            BelowStack::read(state, space)
        });
        self.show_pages()?;
        Ok(stack)
    }

    /// Has KVM execute the instruction.
    /// What ends the execution of this instruction.
    fn limit(&mut self, fetched: &Fetched) -> Limit {
        match self.stop_behind(fetched) {
            Limit::Step if self.state.cpl() == 3 && self.user_step == UserStep::Trap => Limit::Trap,
            limit => limit,
        }
    }

    fn attempt(&mut self, fetched: &Fetched, limit: Limit) -> Result<Came, SoftError> {
        if limit == Limit::Trap {
            self.state.set_rflags(self.state.rflags() | rflags::TF);
        }
        let stopped = self.sites.lift(self.world.memory(), fetched.physical);
        let engine = self.on.of(&mut self.whole, &mut self.for_view);
        engine.write(&mut self.state)?;
        let came = engine.one(limit);
        if stopped {
            self.sites.set(self.world.memory(), fetched.physical);
        }
        came
    }

    /// What KVM could not do, for its emulator or for what L2 does not see.
    fn what_kvm_left(
        &mut self,
        came: Came,
        fetched: &Fetched,
        before: &CpuState,
    ) -> Result<Left, SoftError> {
        let is_step = came == Came::Step && !may_stay(&fetched.instruction);
        if !is_step && !matches!(came, Came::Emulation | Came::Undelivered) {
            return Ok(Left::Nothing);
        }
        // A KVM that emulates may call it a step when it has not got on.
        if is_step && self.state.rip() != before.rip() {
            return Ok(Left::Nothing);
        }
        Ok(match self.engine_mut().take_back(came)? {
            Delivery::Left(event) if event.kind == EventType::HardwareException => {
                Left::Exception(self.pending(&event))
            }
            // An exception has led L2 to a handler in a page that it does not see yet, and that KVM
            // takes for no memory.
            _ if self.state.rip() != before.rip() => Left::Nothing,
            _ => Left::Instruction,
        })
    }

    fn pending(&self, event: &Event) -> PendingException {
        match event.vector {
            vector::PAGE_FAULT => {
                PendingException::page_fault(event.error_code.unwrap_or_default(), self.state.cr2)
            }
            vector => PendingException::fault(vector, event.error_code),
        }
    }

    /// The exception that L2's instruction raises, of which nothing is known but that its delivery
    /// has shut L2 down.
    fn likely_exception(&mut self, fetched: &Fetched) -> PendingException {
        use iced_x86::Mnemonic as M;
        let found = self.with_space(|state, space| operands(fetched, state, space));
        if let Err(Fault::Page(fault)) = found {
            return PendingException::page_fault(fault.error_code, fault.address);
        }
        let instruction = &fetched.instruction;
        match instruction.mnemonic() {
            M::Div | M::Idiv | M::Aam => PendingException::fault(vector::DIVIDE, None),
            M::Mov if loads_segment(instruction) => {
                let selector = self.state.register(number(instruction.op1_register())) as u32;
                PendingException::fault(vector::GENERAL_PROTECTION, Some(selector & 0xfffc))
            }
            _ => PendingException::fault(vector::GENERAL_PROTECTION, Some(0)),
        }
    }

    fn give_back(&mut self, own: Own) {
        if let Own(Some((gpr, own))) = own {
            self.state.set_register(gpr, own);
        }
    }
}

/// Whether an instruction that was executed may be the next one again.
fn may_stay(instruction: &iced_x86::Instruction) -> bool {
    instruction.flow_control() != FlowControl::Next
        || instruction.has_rep_prefix()
        || instruction.has_repne_prefix()
}

/// Whether it loads a segment register from a general-purpose one.
fn loads_segment(instruction: &iced_x86::Instruction) -> bool {
    instruction.op0_register().is_segment_register() && instruction.op1_register().is_gpr()
}

/// What KVM could not do.
enum Left {
    Nothing,
    /// The instruction.
    Instruction,
    /// To deliver the exception that it raises.
    Exception(PendingException),
}
