// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! L2 executes one instruction, looked at before.

use super::error::SoftError;
use super::exits;
use super::idt::vector;
use super::instruction::{Fetched, Kind};
use super::operands::operands;
use super::space::Fault;
use super::state::DR6_BS;
use super::vcpu::{Out, SoftVcpu};
use super::world::World;
use crate::controls::SecondaryControls;
use crate::exit_reason::ExitReason;
use crate::l0::{AfterExit, ExitInformation, HardwareExit, PendingException};
use crate::registers::{interruptibility, rflags};

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
        if kind == Kind::Hlt && self.mend_copied_stop(fetched.physical) {
            return Ok(None);
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
                let flags = self.state.rflags();
                self.state.sti(length);
                self.l2_executed(flags);
                Ok(None)
            }
            Kind::Event => self.software_event(fetched),
            Kind::Rdtscp | Kind::Invpcid if !self.has_instruction(fetched.kind()) => {
                Ok(self.raise_in_l2(PendingException::fault(vector::INVALID_OPCODE, None)))
            }
            Kind::Invalid => {
                Ok(self.raise_in_l2(PendingException::fault(vector::INVALID_OPCODE, None)))
            }
            Kind::Rdmsr | Kind::Wrmsr if is_kernel => match self.l2_msr(fetched) {
                Some(Ok(())) => Ok(self.skipped(length)),
                Some(Err(exception)) => {
                    let fault = PendingException::fault(exception.vector, exception.error_code);
                    Ok(self.raise_in_l2(fault))
                }
                None => self.step_natively(fetched),
            },
            kind @ (Kind::Rdtsc | Kind::Rdtscp) => Ok(self.read_tsc(kind, length)),
            Kind::Iret => {
                self.state
                    .set_blocking(self.state.blocking() & !interruptibility::NMI);
                self.step_natively(fetched)
            }
            Kind::LoadSs => {
                let next = self.state.rip().wrapping_add(length);
                let out = self.step_natively(fetched)?;
                if self.vmx.operation().is_non_root() && self.state.rip() == next {
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
        let flags = self.state.rflags();
        self.state.skip(length);
        self.l2_executed(flags);
        None
    }

    /// L2 has executed an instruction, before which RFLAGS were these.
    pub(crate) fn l2_executed(&mut self, flags: u64) {
        self.returned(None);
        self.vmx.instruction_emulated();
        if flags & rflags::TF != 0 {
            let trap = PendingException::debug_trap(DR6_BS);
            let _ = self.vmx.raise_exception(trap);
        }
    }
}
