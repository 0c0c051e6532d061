// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! L2 executes one instruction, looked at before.

use alloc::boxed::Box;

use super::below_stack::BelowStack;
use super::engine::Came;
use super::error::SoftError;
use super::exits;
use super::idt::vector;
use super::instruction::{Fetched, Kind};
use super::operands::{operands, tables};
use super::space::Fault;
use super::state::CpuState;
use super::vcpu::{Io, Out, SoftVcpu};
use super::world::World;
use crate::controls::SecondaryControls;
use crate::exit_reason::ExitReason;
use crate::l0::{AfterExit, ExitInformation, HardwareExit, PendingException};
use crate::registers::{interruptibility, rflags};

/// DR6.BS: a single step.
const DR6_BS: u64 = 1 << 14;

/// A register's value while one instruction is executed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instead {
    pub(super) gpr: usize,
    pub(super) value: u64,
}

impl<W: World> SoftVcpu<W> {
    /// L2 executes one instruction, or exits instead.
    pub(crate) fn step_l2(&mut self) -> Result<Option<Out>, SoftError> {
        let fetched = match self.with_space(Fetched::at_rip) {
            Ok(fetched) => fetched,
            Err(Fault::Page(fault)) => {
                let fault = PendingException::page_fault(fault.error_code, fault.address);
                return Ok(self.raise_in_l2(fault));
            }
            Err(fault @ Fault::Ept { .. }) => return self.ept_exit(&fault, None),
            Err(Fault::NotMemory) => {
                let found = self.with_space(|state, space| {
                    space.translate(state.linear_rip(), crate::paging::Access::Fetch)
                });
                // Code that is no memory reads as all ones, which is no instruction.
                if found.is_ok() {
                    let fault = PendingException::fault(vector::INVALID_OPCODE, None);
                    return Ok(self.raise_in_l2(fault));
                }
                // So do page tables: reserved bits, also on the way to a handler.
                return self.exit(ExitInformation::new(ExitReason::TRIPLE_FAULT), None);
            }
        };
        let kind = fetched.kind();
        if kind == Kind::Vmx {
            return self.l2_vmx_instruction(&fetched);
        }
        if let Some(information) = exits::information(&fetched, &self.state) {
            let exit = HardwareExit::Exit {
                information,
                vectoring: None,
            };
            match self.with_border(|vmx, border| vmx.after_exit(exit, border)) {
                AfterExit::L0(_) => {}
                after => return Ok(self.after(after)),
            }
        }
        let checked = self.with_space(|state, space| operands(&fetched, state, space));
        if let Err(fault @ Fault::Ept { .. }) = checked {
            return self.ept_exit(&fault, None);
        }
        self.execute_for_l2(&fetched)
    }

    pub(super) fn execute_for_l2(&mut self, fetched: &Fetched) -> Result<Option<Out>, SoftError> {
        let length = fetched.length();
        let is_kernel = self.state.cpl() == 0;
        match fetched.kind() {
            Kind::Hlt if is_kernel => {
                self.state.skip(length);
                self.returned(None);
                self.vmx.halt();
                Ok(None)
            }
            Kind::MovFromCr {
                cr: cr @ (0 | 4),
                gpr,
            } if is_kernel => {
                let value = self.shown(cr);
                self.state.set_register(gpr, value);
                Ok(self.skipped(length))
            }
            Kind::MovFromCr { cr: 8, gpr } if is_kernel => {
                let value = self.world.cr8();
                self.state.set_register(gpr, value);
                Ok(self.skipped(length))
            }
            Kind::MovToCr { cr: 8, gpr } if is_kernel && self.state.register(gpr) < 16 => {
                self.world.set_cr8(self.state.register(gpr));
                Ok(self.skipped(length))
            }
            Kind::MovToCr {
                cr: cr @ (0 | 4),
                gpr,
            } if is_kernel => self.write_unmasked(cr, gpr, fetched),
            Kind::Sti if self.state.may_change_if() => {
                self.state.sti(length);
                self.returned(None);
                self.vmx.instruction_emulated();
                Ok(None)
            }
            Kind::Event => self.software_event(fetched),
            Kind::Rdtscp | Kind::Invpcid if !self.has_instruction(fetched.kind()) => {
                Ok(self.raise_in_l2(PendingException::fault(vector::INVALID_OPCODE, None)))
            }
            Kind::Invalid => {
                Ok(self.raise_in_l2(PendingException::fault(vector::INVALID_OPCODE, None)))
            }
            Kind::Rdmsr | Kind::Wrmsr if is_kernel => match self.software_msr(fetched) {
                Some(Ok(())) => Ok(self.skipped(length)),
                Some(Err(exception)) => {
                    let fault = PendingException::fault(exception.vector, exception.error_code);
                    Ok(self.raise_in_l2(fault))
                }
                None => self.step_natively(fetched),
            },
            Kind::Rdtsc | Kind::Rdtscp => {
                let out = self.step_natively(fetched)?;
                self.offset_tsc();
                Ok(out)
            }
            Kind::Iret => {
                self.state
                    .set_blocking(self.state.blocking() & !interruptibility::NMI);
                self.step_natively(fetched)
            }
            Kind::LoadSs => {
                let next = self.state.rip().wrapping_add(length);
                let out = self.step_natively(fetched)?;
                if self.state.rip() == next {
                    self.state
                        .set_blocking(self.state.blocking() | interruptibility::MOV_SS);
                }
                Ok(out)
            }
            _ => self.step_natively(fetched),
        }
    }

    /// Whether L1 lets L2 have an instruction that it would not have otherwise.
    pub(super) fn has_instruction(&self, kind: Kind) -> bool {
        let secondary = self.vmx.vmcs12().secondary();
        secondary.contains(match kind {
            Kind::Rdtscp => SecondaryControls::ENABLE_RDTSCP,
            _ => SecondaryControls::ENABLE_INVPCID,
        })
    }

    /// L0 has executed an instruction for L2.
    pub(super) fn skipped(&mut self, length: u64) -> Option<Out> {
        self.state.skip(length);
        self.returned(None);
        self.vmx.instruction_emulated();
        None
    }

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
        let own = instead.map(|Instead { gpr, value }| {
            let own = self.state.register(gpr);
            self.state.set_register(gpr, value);
            (gpr, own)
        });
        let stack = self.with_space(|state, space| {
            // Once more, since what was looked up last is what L2 gets to see.
            let _ = space.check(
                state.linear_rip(),
                fetched.instruction.len(),
                crate::paging::Access::Fetch,
            );
            let _ = operands(fetched, state, space);
            let _ = tables(state, space);
            BelowStack::read(state, space)
        });
        self.show_pages()?;
        self.statistics.l2_steps += 1;
        let limit = self.stop_behind(fetched);
        let before = self.state.clone();
        let stopped = self.sites.lift(self.world.memory(), fetched.physical);
        let engine = self.on.of(&mut self.whole, &mut self.for_view);
        engine.write(&mut self.state)?;
        let came = engine.one(limit)?;
        if stopped {
            self.sites.set(self.world.memory(), fetched.physical);
        }
        match came {
            Came::Vmm => {
                self.l2_before = Some(Box::new(before));
                self.io = Io::Pending;
                return Ok(Some(Out::Exit));
            }
            Came::Shutdown => {
                self.restore(&before);
                if own.is_some() {
                    self.give_back(own);
                    // What the register had meanwhile may be no stack for an exception.
                    let fault = PendingException::fault(vector::GENERAL_PROTECTION, Some(0));
                    return Ok(self.raise_in_l2(fault));
                }
                return self.exit(ExitInformation::new(ExitReason::TRIPLE_FAULT), None);
            }
            _ => {}
        }
        let engine = self.on.of(&mut self.whole, &mut self.for_view);
        engine.read(&mut self.state)?;
        // An exception has led L2 to a handler in a page that it does not see yet, and that KVM takes
        // for no memory. Otherwise it is the instruction itself.
        if came == Came::Emulation && self.state.rip() == before.rip() {
            return Ok(Some(Out::Exit));
        }
        if matches!(fetched.kind(), Kind::Wrmsr | Kind::MovDr { .. }) {
            engine.read_slow(&mut self.state)?;
        }
        // A step that ends behind a stop has gone over it, unless it was this very instruction.
        let is_next = self.state.rip() == before.rip().wrapping_add(fetched.length());
        let arrived = !is_next && self.back_to_stop();
        if came == Came::Interrupted && !arrived && self.state.rip() == before.rip() {
            self.give_back(own);
            return Ok(None);
        }
        let frame = self.pushed_frame(&before, fetched.length());
        self.hide_step(fetched, &before, frame);
        self.state.end_shadow();
        let is_exception = fetched.instruction.mnemonic() != iced_x86::Mnemonic::Int;
        if let Some(frame) = frame.filter(|_| is_exception)
            && let Some((vector, error_code)) = self.vector_of(&frame, &before)
        {
            if own.is_some() {
                self.unwind_exception(&before, stack.as_ref());
                self.give_back(own);
                return Ok(self.raise_in_l2(PendingException::fault(vector, error_code)));
            }
            return self.exception(vector, error_code, None, &before, stack.as_ref());
        }
        self.give_back(own);
        self.l2_executed(&before)?;
        Ok(None)
    }

    /// A register that had another value for an instruction.
    fn give_back(&mut self, own: Option<(usize, u64)>) {
        if let Some((gpr, own)) = own {
            self.state.set_register(gpr, own);
        }
    }

    /// L2 has executed an instruction.
    pub(crate) fn l2_executed(&mut self, before: &CpuState) -> Result<(), SoftError> {
        self.returned(None);
        self.vmx.instruction_emulated();
        if before.rflags() & rflags::TF != 0 {
            let trap = PendingException::debug_trap(DR6_BS);
            let _ = self.vmx.raise_exception(trap);
        }
        Ok(())
    }
}
