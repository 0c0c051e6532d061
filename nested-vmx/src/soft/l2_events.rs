// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Exceptions and software events of L2's, and the frames that they push.

use alloc::vec::Vec;

use super::below_stack::BelowStack;
use super::error::SoftError;
use super::idt::{self, Handlers, Obstacle, vector};
use super::instruction::Fetched;
use super::space::word;
use super::state::CpuState;
use super::vcpu::{Out, SoftVcpu};
use super::world::World;
use crate::exit_reason::ExitReason;
use crate::interruption::{Event, EventType};
use crate::l0::{Class, EnterL2, ExitInformation, PendingException};
use crate::registers::rflags;

impl<W: World> SoftVcpu<W> {
    /// INT3, INTO, INT1, INT n, UD.
    pub(super) fn software_event(&mut self, fetched: &Fetched) -> Result<Option<Out>, SoftError> {
        use iced_x86::Mnemonic as M;
        let length = fetched.instruction.len() as u32;
        let (kind, vector) = match fetched.instruction.mnemonic() {
            M::Int3 => (EventType::SoftwareException, 3),
            M::Into if self.state.rflags() & rflags::OF != 0 => (EventType::SoftwareException, 4),
            M::Int1 => (EventType::PrivilegedSoftwareException, vector::DEBUG),
            M::Int => (
                EventType::SoftwareInterrupt,
                fetched.instruction.immediate8(),
            ),
            M::Into => return self.step_natively(fetched),
            _ => (EventType::HardwareException, vector::INVALID_OPCODE),
        };
        let mut event = Event::new(kind, vector);
        if kind.is_software() {
            event.instruction_length = length;
        }
        if kind != EventType::SoftwareInterrupt {
            return Ok(self.raise_in_l2(PendingException {
                event,
                qualification: 0,
                class: Class::Fault,
            }));
        }
        // No exit, unless its delivery makes one.
        let checked = self.with_space(|state, space| {
            space.implicitly(|space| idt::check_delivery(&event, state, space))
        });
        if let Err(Obstacle::Ept(fault)) = checked {
            return self.ept_exit(&fault, Some(event));
        }
        let allowed = self.with_space(|state, space| {
            let gate = Handlers::read(state, space).gate(vector);
            !state.is_protected() || gate.is_some_and(|gate| gate.dpl >= state.cpl())
        });
        if !allowed {
            let code = u32::from(vector) << 3 | 2;
            let fault = PendingException::fault(vector::GENERAL_PROTECTION, Some(code));
            return Ok(self.raise_in_l2(fault));
        }
        // KVM delivers it, as what L1 injects; not each KVM executes the instruction.
        self.enter_briefly(&EnterL2 {
            injection: Some(event),
            payload: None,
            immediate_exit: false,
            interrupt_window: false,
            nmi_window: false,
            preemption_timer: None,
        })
    }

    /// An exception of L2's, which is in its handler.
    pub(super) fn exception(
        &mut self,
        vector: u8,
        error_code: Option<u32>,
        vectoring: Option<Event>,
        before: &CpuState,
        stack: Option<&BelowStack>,
    ) -> Result<Option<Out>, SoftError> {
        let qualification = match vector {
            vector::PAGE_FAULT => self.state.cr2,
            _ => 0,
        };
        let exception = PendingException {
            event: Event::exception(vector, error_code),
            qualification,
            class: Class::Fault,
        };
        if !exception.exits(self.vmx.vmcs12()) {
            self.returned(None);
            return Ok(None);
        }
        // L1 wants it: it did not happen in L2.
        self.unwind_exception(before, stack);
        let information =
            ExitInformation::event(ExitReason::EXCEPTION_OR_NMI, exception.event, qualification);
        self.exit(information, vectoring)
    }

    /// L2 is as before the exception in whose handler it stands.
    pub(super) fn unwind_exception(&mut self, before: &CpuState, stack: Option<&BelowStack>) {
        let pushed_at = self.state.rsp();
        self.restore(before);
        if let Some(stack) = stack.filter(|stack| stack.contains(pushed_at)) {
            // Where nothing can be written, nothing was.
            let _ = self.with_space(|_, space| space.write(stack.linear, &stack.bytes));
        }
    }

    /// The exception in whose handler the guest stands with this frame, and its error code.
    pub(super) fn vector_of(
        &mut self,
        frame: &PushedFrame,
        before: &CpuState,
    ) -> Option<(u8, Option<u32>)> {
        let at = self.state.linear_rip();
        let candidates: Vec<u8> = self.with_handlers(|handlers, state, space| {
            (0..32)
                .filter(|vector| frame.error_code.is_some() == has_error_code(*vector))
                .filter(|vector| handlers.address(*vector, state, space) == Some(at))
                .collect()
        });
        // Several may share a handler.
        let likely = [
            (self.state.cr2 != before.cr2).then_some(vector::PAGE_FAULT),
            Some(vector::GENERAL_PROTECTION),
        ];
        let vector = likely
            .into_iter()
            .flatten()
            .find(|vector| candidates.contains(vector))
            .or_else(|| candidates.first().copied())?;
        Some((vector, frame.error_code))
    }

    /// The frame that the delivery of an event has pushed, if the guest stands at a handler.
    pub(crate) fn pushed_frame(&mut self, before: &CpuState, length: u64) -> Option<PushedFrame> {
        if before.rsp() == self.state.rsp() {
            return None;
        }
        let size = match (self.state.is_protected(), self.state.is_long()) {
            (false, _) => 2,
            (true, false) => 4,
            (true, true) => 8,
        };
        let rsp = self.state.rsp();
        let mut bytes = [0; 32];
        let words = bytes.get_mut(..4 * size)?;
        self.with_space(|state, space| space.read(state.linear_rsp(), words))
            .ok()?;
        let word = |at: usize| word(words.get(at * size..(at + 1) * size).unwrap_or_default());
        let next = before.rip().wrapping_add(length);
        let is_rip = |value: u64| value == before.rip() || value == next;
        if !self.is_handler(self.state.linear_rip()) {
            return None;
        }
        let selector = u64::from(before.vmcs.guest_cs_selector());
        let has_selector = |at: usize| word(at) & 0xffff == selector;
        if is_rip(word(0)) && has_selector(1) {
            return Some(PushedFrame {
                error_code: None,
                flags_at: rsp.wrapping_add(2 * size as u64),
            });
        }
        (is_rip(word(1)) && has_selector(2)).then(|| PushedFrame {
            error_code: Some(word(0) as u32),
            flags_at: rsp.wrapping_add(3 * size as u64),
        })
    }
}

/// What the delivery of an event has pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PushedFrame {
    pub(crate) error_code: Option<u32>,
    /// The offset of the flags in the stack segment.
    pub(crate) flags_at: u64,
}

/// The exceptions that push an error code (SDM volume 3, table 7-1).
const fn has_error_code(vector: u8) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30)
}
