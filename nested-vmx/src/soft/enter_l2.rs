// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! L2 is entered for as little as possible: with the event that is injected, and with nothing else.

use alloc::boxed::Box;

use super::below_stack::BelowStack;
use super::engine::{Came, Delivery, Limit};
use super::error::SoftError;
use super::idt::{self, Handlers, Obstacle, vector};
use super::operands::all_tables;
use super::state::{CpuState, Stale};
use super::vcpu::{Behind, Entering, Io, On, Out, SoftVcpu};
use super::world::World;
use crate::controls::PrimaryControls;
use crate::exit_reason::ExitReason;
use crate::interruption::{Event, EventType};
use crate::l0::{EnterL2, ExitInformation};
use crate::paging::Access;
use crate::registers::interruptibility;

/// What the guest has executed when it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    /// The event's handler is next.
    Handler,
    /// The handler of an exception that its delivery caused.
    Exception(u8, Option<u32>),
}

fn block_nmis_behind(event: &Event, state: &mut CpuState) {
    if event.kind == EventType::Nmi {
        state.set_blocking(state.blocking() | interruptibility::NMI);
    }
}

/// Whether there is something that KVM cannot do.
fn is_failure(came: Came) -> bool {
    matches!(came, Came::Emulation | Came::Undelivered)
}

impl<W: World> SoftVcpu<W> {
    /// The immediate exit: L2 is entered, has the event, and executes nothing.
    pub(super) fn enter_briefly(&mut self, how: &EnterL2) -> Result<Option<Out>, SoftError> {
        self.prepare_handlers();
        let before = self.state.clone();
        let mut stack = None;
        if let Some(event) = &how.injection {
            let checked = self.with_space(|state, space| {
                stack = BelowStack::read(state, space);
                let checked = space.implicitly(|space| idt::check_delivery(event, state, space));
                // L2 gets to see its handler, too; whether it may have it shows when it fetches.
                let handlers = Handlers::read(state, space);
                let handler = handlers.address(event.vector, state, space);
                let _ = handler
                    .map(|linear| space.implicitly(|space| space.check(linear, 1, Access::Fetch)));
                checked
            });
            match checked {
                Err(Obstacle::Ept(fault)) => return self.ept_exit(&fault, how.injection),
                // KVM would make a double or triple fault of it.
                Err(Obstacle::Exception(second))
                    if event.vector != vector::DOUBLE_FAULT && second.exits(self.vmx.vmcs12()) =>
                {
                    let information = ExitInformation::event(
                        ExitReason::EXCEPTION_OR_NMI,
                        second.event,
                        second.qualification,
                    );
                    return self.exit(information, how.injection);
                }
                _ => {}
            }
        } else if self.in_shadow() {
            // Nothing comes before the instruction behind STI or MOV SS is executed.
            return self.step_l2();
        } else if self.entering == Entering::Briefly {
            // Nothing is delivered, so it is the next instruction that stops it.
            let next = self.state.linear_rip();
            self.stop_at(next);
        }
        if let Some(event) = &how.injection {
            if let Some(payload) = how.payload {
                self.set_payload(event, payload);
            }
            if event.kind.is_software() {
                let next = self
                    .state
                    .rip()
                    .wrapping_add(event.instruction_length.into());
                self.state.set_rip(next);
            }
        }
        let mut entered = self.enter_once(how)?;
        let is_undelivered =
            |(came, delivery)| is_failure(came) && matches!(delivery, Delivery::Left(_));
        if self.on == On::View && entered.is_some_and(is_undelivered) {
            // KVM takes for no memory what L2 was not shown.
            self.with_space(all_tables);
            self.state.changed(Stale::All);
            entered = self.enter_once(how)?;
        }
        let Some((came, delivery)) = entered else {
            self.restore(&before);
            return Ok(Some(Out::Interrupted));
        };
        // What KVM cannot deliver even so, no processor could.
        if came == Came::Shutdown || is_undelivered((came, delivery)) {
            self.restore(&before);
            return self.exit(ExitInformation::new(ExitReason::TRIPLE_FAULT), None);
        }
        if came == Came::Vmm {
            // A device's memory as a stack: L2 goes on when the VMM has done its part.
            self.io = Io::Pending(match delivery {
                Delivery::Done => Behind::Delivery(how.injection),
                Delivery::Left(_) => Behind::Again(Box::new(before)),
            });
            return Ok(Some(Out::Exit));
        }
        self.read_registers()?;
        self.back_to_stop(Limit::Stop);
        let Some(event) = how.injection else {
            self.returned(None);
            return Ok(None);
        };
        if delivery != Delivery::Done {
            self.restore(&before);
            self.returned(Some(event));
            return Ok(None);
        }
        self.state.end_shadow();
        match self.arrival(&event, &before) {
            Arrival::Exception(vector, error_code) => {
                self.exception(vector, error_code, Some(event), &before, stack.as_ref())
            }
            Arrival::Handler => {
                // With the monitor trap flag, the exit comes before the handler's first instruction.
                if self.traps() {
                    block_nmis_behind(&event, &mut self.state);
                    return self.exit(ExitInformation::new(ExitReason::MONITOR_TRAP_FLAG), None);
                }
                self.event_delivered(Some(event));
                Ok(None)
            }
        }
    }

    /// L2 has the event that was injected, and has executed nothing.
    pub(super) fn event_delivered(&mut self, event: Option<Event>) {
        if let Some(event) = event {
            block_nmis_behind(&event, &mut self.state);
        }
        self.returned(None);
    }

    /// Has KVM enter L2, with the event if there is one. What it has not delivered is taken back.
    /// `None`: somebody wants the vCPU outside, and nothing happened.
    fn enter_once(&mut self, how: &EnterL2) -> Result<Option<(Came, Delivery)>, SoftError> {
        self.show_pages()?;
        let engine = self.on.of(&mut self.whole, &mut self.for_view);
        engine.write(&mut self.state)?;
        if let Some(event) = &how.injection {
            engine.inject(event)?;
        }
        let came = match (self.entering, how.injection) {
            (Entering::UntilKicked, None) => Some(engine.run(false)?),
            _ => engine.run_briefly()?,
        };
        let Some(came) = came else {
            let _ = engine.take_back(Came::Interrupted)?;
            return Ok(None);
        };
        let delivery = engine.take_back(came)?;
        let Some(event) = how.injection.filter(|_| is_failure(came)) else {
            return Ok(Some((came, delivery)));
        };
        // A handler that L2 does not see yet fails to be fetched; by then the event is delivered,
        // whatever the processor says (QEMU's says that it is not).
        let entered_at = self.state.rip();
        let engine = self.on.of(&mut self.whole, &mut self.for_view);
        engine.read_general(&mut self.state)?;
        let delivery = match self.state.rip() == entered_at {
            true => Delivery::Left(event),
            false => Delivery::Done,
        };
        Ok(Some((came, delivery)))
    }

    fn traps(&self) -> bool {
        let primary = self.vmx.vmcs12().primary();
        primary.contains(PrimaryControls::MONITOR_TRAP_FLAG)
    }

    fn set_payload(&mut self, event: &Event, payload: u64) {
        if event.vector == vector::PAGE_FAULT && event.kind == EventType::HardwareException {
            self.state.cr2 = payload;
            self.state.changed(Stale::All);
        }
    }

    /// At whose handler L2 stands after an event was delivered.
    fn arrival(&mut self, event: &Event, before: &CpuState) -> Arrival {
        let at = self.state.linear_rip();
        let expected = self
            .with_handlers(|handlers, state, space| handlers.address(event.vector, state, space));
        if expected == Some(at) || expected.is_none() {
            return Arrival::Handler;
        }
        let frame = self.pushed_frame(before, event.instruction_length.into());
        match frame.and_then(|frame| self.vector_of(&frame, before)) {
            Some((vector, error_code)) => Arrival::Exception(vector, error_code),
            None => Arrival::Handler,
        }
    }
}
