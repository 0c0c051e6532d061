// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! L1 runs: its events, and everything that KVM does for it.

use iced_x86::Mnemonic;

use super::engine::{Came, Delivery, Limit};
use super::error::SoftError;
use super::instruction::{Fetched, Kind};
use super::scan::{is_stop, needs_l0};
use super::vcpu::{Activity, Behind, Catch, Io, On, Out, SoftVcpu};
use super::world::World;
use crate::interruption::{Event, EventType};
use crate::registers::{interruptibility, rflags};

impl<W: World> SoftVcpu<W> {
    /// Lets L1 run until there is something to do.
    pub(crate) fn run_l1(&mut self) -> Result<Option<Out>, SoftError> {
        self.switch_to(On::Whole)?;
        if let Some(out) = self.correct_user_exception()? {
            return Ok(Some(out));
        }
        self.next_event_for_l1();
        if self.for_l1.is_none() && self.activity == Activity::Halted {
            return Ok(Some(Out::Halt));
        }
        self.activity = Activity::Running;
        self.bound_stops();
        self.prepare_handlers();
        if let Some(event) = self.for_l1.take() {
            return self.deliver_to_l1(event);
        }
        let fetched = self.with_space(Fetched::at_rip);
        // What cannot be fetched is a fault that the processor finds.
        let Ok(fetched) = fetched else {
            return self.let_l1_run();
        };
        if self.state.cpl() == 3 {
            // Nothing that L0 has to see can be executed there; the handlers are gone through.
            self.enter_user_code();
            return self.let_l1_run();
        }
        let shadowed = self.in_shadow();
        match self.catch {
            _ if needs_l0(fetched.kind()) => self.l1_instruction(&fetched),
            Catch::Steps => self.execute_natively(&fetched),
            catch if is_stop(&fetched, catch) => self.leave_region(&fetched),
            // An interrupt that waits comes right behind the next instruction.
            _ if shadowed && self.world.interrupts().pending().is_some() => {
                self.execute_natively(&fetched)
            }
            Catch::Stops | Catch::Exits => {
                self.scan(self.state.linear_rip());
                // A stop that was for L2, or for one step.
                self.sites.remove(self.world.memory(), fetched.physical);
                self.let_l1_run()
            }
        }
    }

    /// Takes the event that L1 gets now, if it can take one.
    pub(super) fn next_event_for_l1(&mut self) {
        if self.for_l1.is_some() {
            return;
        }
        let blocking = self.state.blocking();
        let shadow = interruptibility::STI | interruptibility::MOV_SS;
        if self.vmx.pending().nmi && blocking & (interruptibility::NMI | shadow) == 0 {
            self.vmx.pending_mut().nmi = false;
            self.state.set_blocking(blocking | interruptibility::NMI);
            self.for_l1 = Some(Event::NMI);
            return;
        }
        if self.state.rflags() & rflags::IF == 0 || blocking & shadow != 0 {
            return;
        }
        if let Some(vector) = self.world.interrupts().pending() {
            self.world.interrupts().acknowledge(vector);
            self.for_l1 = Some(Event::external_interrupt(vector));
        }
    }

    /// Whether something waits for L1, be it blocked or not.
    fn has_event_for_l1(&mut self) -> bool {
        self.vmx.pending().nmi || self.world.interrupts().pending().is_some()
    }

    pub(super) fn deliver_to_l1(&mut self, event: Event) -> Result<Option<Out>, SoftError> {
        // What comes next comes before the handler's first instruction, through a trap gate; later,
        // L0 would not notice. An open window could end the entry before the event is delivered.
        if self.state.is_protected() && self.has_event_for_l1() {
            let handler = self.with_handlers(|handlers, state, space| {
                handlers.address(event.vector, state, space)
            });
            handler.map(|linear| self.stop_at(linear));
        }
        self.whole.write(&mut self.state)?;
        self.whole.inject(&event)?;
        let came = self.whole.run(false)?;
        match self.whole.take_back(came)? {
            Delivery::Left(left) if left.vector == event.vector => self.for_l1 = Some(event),
            // An exception that the delivery has caused stands in for the event.
            Delivery::Left(left) => self.for_l1 = Some(left),
            Delivery::Done => self.state.end_shadow(),
        }
        self.after_l1(came)
    }

    pub(super) fn let_l1_run(&mut self) -> Result<Option<Out>, SoftError> {
        let waits = self.world.interrupts().pending().is_some();
        self.whole.write(&mut self.state)?;
        let came = self.whole.run(waits)?;
        self.state.end_shadow();
        self.after_l1(came)
    }

    /// L1 came back.
    pub(super) fn after_l1(&mut self, came: Came) -> Result<Option<Out>, SoftError> {
        if matches!(came, Came::Vmm | Came::Undelivered) {
            self.io = Io::Pending(Behind::Nothing);
            return Ok(Some(Out::Exit));
        }
        self.whole.read(&mut self.state)?;
        match came {
            Came::Halt => {
                if !self.back_to_stop(Limit::Stop) && self.is_behind_halt() {
                    self.activity = Activity::Halted;
                }
                Ok(None)
            }
            Came::Shutdown => Ok(Some(Out::Shutdown)),
            Came::Emulation => self.emulate(),
            _ => Ok(None),
        }
    }

    /// KVM's emulator lacks the instruction at RIP.
    pub(super) fn emulate(&mut self) -> Result<Option<Out>, SoftError> {
        let _ = self.whole.take_back(Came::Emulation)?;
        let Ok(fetched) = self.with_space(Fetched::at_rip) else {
            return Ok(Some(Out::Exit));
        };
        match fetched.kind() {
            Kind::Vmx => self.l1_instruction(&fetched),
            Kind::Event => {
                let event = match fetched.instruction.mnemonic() {
                    Mnemonic::Int3 => Event::new(EventType::SoftwareException, 3),
                    Mnemonic::Int => {
                        let vector = fetched.instruction.immediate8();
                        Event::new(EventType::SoftwareInterrupt, vector)
                    }
                    _ => return Ok(Some(Out::Exit)),
                };
                self.state.skip(fetched.length());
                self.for_l1 = Some(event);
                Ok(None)
            }
            _ => Ok(Some(Out::Exit)),
        }
    }
}
