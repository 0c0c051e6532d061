// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! VMX instructions, L1's and L2's.

use super::error::SoftError;
use super::idt::vector;
use super::instruction::Fetched;
use super::sites::Unpatched;
use super::space::Space;
use super::state::LOW;
use super::vcpu::{Out, SoftVcpu};
use super::world::World;
use crate::l0::{
    Exception, ExitInformation, Instruction, LinearOperand, Outcome, PendingException,
};
use crate::operand::{
    self, DecodeError, Decoded, Gpr, Mode, Operands, RegisterOrMemory, VmxInstruction,
};

impl<W: World> SoftVcpu<W> {
    pub(super) fn vmx_instruction(&mut self, fetched: &Fetched) -> Result<Option<Out>, SoftError> {
        let decoded = operand::decode(fetched.code(), self.state.mode(), self.state.rip());
        let decoded = match decoded {
            Ok(decoded) => decoded,
            Err(DecodeError::TooLong) => {
                self.raise_in_l1(Exception::GENERAL_PROTECTION);
                return Ok(None);
            }
            Err(_) => {
                self.raise_in_l1(Exception::INVALID_OPCODE);
                return Ok(None);
            }
        };
        self.statistics.vmx_instructions += 1;
        let outcome = self.execute_vmx(&decoded);
        let flush = self.vmx.take_flush();
        if flush.ept.is_some() {
            self.view.clear()?;
        }
        self.finish_vmx(&decoded, outcome)
    }

    /// Has the core execute a VMX instruction of the guest that runs.
    pub(crate) fn execute_vmx(&mut self, decoded: &Decoded) -> Outcome {
        let processor = self.vmx.capabilities().processor;
        let registers = self.state.registers(processor);
        let paging = self.state.paging(processor);
        // The operand is read from the memory that the core gets as well.
        let world = &self.world;
        let unpatched = Unpatched::new(world.memory(), &self.sites);
        let space = Space::new(&unpatched, None, paging);
        let operand = LinearOperand::new(decoded, &registers, &space);
        let instruction = Instruction::from_decoded(decoded, &registers, &operand);
        // Only an entry starts L1's timer.
        let tsc = super::vcpu::Tsc(match decoded.instruction {
            VmxInstruction::Vmlaunch | VmxInstruction::Vmresume => self.tsc(),
            _ => 0,
        });
        let mut msrs = super::msrs::SharedMsrs {
            running: &self.whole,
            whole: &self.whole,
            capabilities: *self.vmx.capabilities(),
            physical: processor,
        };
        let mut nothing = super::vcpu::NoInterrupts;
        let mut border = crate::l0::Border {
            memory: &unpatched,
            msrs: &mut msrs,
            hardware: &mut self.state,
            interrupts: &mut nothing,
            clock: &tsc,
            requests: &super::vcpu::Nobody,
        };
        self.vmx.execute(instruction, &mut border)
    }

    pub(crate) fn finish_vmx(
        &mut self,
        decoded: &Decoded,
        outcome: Outcome,
    ) -> Result<Option<Out>, SoftError> {
        match outcome {
            Outcome::Succeed
            | Outcome::Read(_)
            | Outcome::FailInvalid
            | Outcome::FailValid(_)
            | Outcome::EptpSwitched => {
                if let (Outcome::Read(value), Some(register)) = (outcome, destination(decoded)) {
                    let value = match self.state.mode() {
                        Mode::Bits64 => value,
                        _ => value & LOW,
                    };
                    self.state
                        .set_register(usize::from(register.number()), value);
                }
                if let Some(flags) = outcome.rflags(self.state.rflags()) {
                    self.state.set_rflags(flags);
                }
                self.state.skip(decoded.length.into());
                Ok(None)
            }
            Outcome::Exception(exception) => {
                self.raise_in_l1(exception);
                Ok(None)
            }
            Outcome::Aborted(_) => Ok(Some(Out::Shutdown)),
            // L2's entry is pending, or L1 is at its host RIP. An exit is L2's only.
            Outcome::Entered | Outcome::EntryFailed(_) | Outcome::Exit(_) => Ok(None),
        }
    }

    pub(super) fn l2_vmx_instruction(
        &mut self,
        fetched: &Fetched,
    ) -> Result<Option<Out>, SoftError> {
        let decoded = match operand::decode(fetched.code(), self.state.mode(), self.state.rip()) {
            Ok(decoded) => decoded,
            Err(error) => {
                return Ok(self.raise_in_l2(match error {
                    DecodeError::TooLong => {
                        PendingException::fault(vector::GENERAL_PROTECTION, Some(0))
                    }
                    _ => PendingException::fault(vector::INVALID_OPCODE, None),
                }));
            }
        };
        match self.execute_vmx(&decoded) {
            Outcome::Exit(reason) => {
                let mut information = ExitInformation::new(reason);
                information.instruction_length = decoded.length.into();
                information.instruction_information = decoded.information().0;
                information.qualification = decoded.qualification();
                self.exit(information, None)
            }
            Outcome::Exception(exception) => {
                let pending = match exception.vector {
                    vector::PAGE_FAULT => PendingException::page_fault(
                        exception.error_code.unwrap_or_default(),
                        exception.address,
                    ),
                    vector => PendingException::fault(vector, exception.error_code),
                };
                Ok(self.raise_in_l2(pending))
            }
            outcome => {
                // VMFUNC, and VMREAD and VMWRITE of a shadow VMCS.
                if outcome == Outcome::EptpSwitched {
                    self.view.clear()?;
                }
                let out = self.finish_vmx(&decoded, outcome)?;
                self.returned(None);
                self.vmx.instruction_emulated();
                Ok(out)
            }
        }
    }
}

/// The register that VMREAD writes.
fn destination(decoded: &Decoded) -> Option<Gpr> {
    match decoded.operands {
        Operands::Field {
            value: RegisterOrMemory::Register(register),
            ..
        } => Some(register),
        _ => None,
    }
}
