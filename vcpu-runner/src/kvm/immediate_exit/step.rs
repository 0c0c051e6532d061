// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! KVM's single step.

use super::debug_control::DebugControl;
use super::flags_instruction::{LONGEST, is_flags_instruction};
use super::handler_address;
use super::interrupt_frame::FrameAt;
use super::mechanism::{Apply, End, Owner, Refusal, Tools, Unmet};
use super::situation::Situation;
use super::thread_timer::Taken;
use crate::Injection;
use crate::kvm::decode;

/// What a step does that meets the delivery of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ThroughDelivery {
    /// It is lost, as far as is known: the handler runs on.
    Lost,
    /// It stops after the handler's first instruction, as was measured on this host.
    StopsInHandler,
}

#[derive(Debug)]
pub(super) struct Step {
    through: ThroughDelivery,
    control: Option<DebugControl>,
    /// Of the event that is to be delivered.
    frame: Option<FrameAt>,
}

impl Step {
    pub(super) fn new(through: ThroughDelivery) -> Self {
        Self {
            through,
            control: None,
            frame: None,
        }
    }
}

/// Whether the guest could tell a step from none.
pub(super) fn check_steppable(situation: &Situation, tools: &Tools<'_>) -> Result<(), Unmet> {
    if situation.guest_steps() {
        return Err(Unmet::GuestSteps);
    }
    let mut bytes = [0; LONGEST];
    let len = tools.memory.read_some(situation.linear_rip(), &mut bytes);
    match is_flags_instruction(bytes.get(..len).unwrap_or_default(), situation.is_64_bit()) {
        true => Err(Unmet::FlagsInstruction),
        false => Ok(()),
    }
}

impl Apply for Step {
    fn prepare(&mut self, situation: &Situation, tools: &Tools<'_>) -> Result<(), Refusal> {
        self.frame = match situation.deliverable()[..] {
            [] => None,
            // Its frame shows the step, and has to be found.
            [event] if self.through == ThroughDelivery::StopsInHandler => {
                let handler = handler_address::find(&situation.sregs, tools.memory, event.vector);
                let frame = handler
                    .and_then(|handler| FrameAt::locate(situation, tools.memory, event, &handler));
                Some(frame.map_err(|reason| Unmet::NoHandler {
                    vector: event.vector,
                    reason,
                })?)
            }
            _ => return Err(Unmet::Event.into()),
        };
        check_steppable(situation, tools)?;
        self.control = Some(DebugControl::merge(tools.debug, true, &[])?);
        Ok(())
    }

    fn arm(&mut self, tools: &mut Tools<'_>) -> Result<(), kvm_ioctls::Error> {
        if let Some(control) = &self.control {
            tools.fd.set_guest_debug(control.merged())?;
        }
        tools
            .timer
            .start(tools.fd, tools.backstop, Taken::ByHandler)
    }

    fn disarm(&mut self, tools: &mut Tools<'_>) -> Result<(), kvm_ioctls::Error> {
        disarm(self.control.as_ref(), tools)
    }

    fn owner(&self, tools: &Tools<'_>) -> Owner {
        owner(self.control.as_ref(), tools)
    }

    fn settle(
        &mut self,
        before: &Situation,
        after: &Situation,
        end: End,
        tools: &Tools<'_>,
    ) -> Option<u64> {
        if let Some(control) = &self.control
            && before.delivered(after)
        {
            unmark(control, self.frame.as_ref(), tools);
        }
        // Without an event one instruction was stepped, or made an exit on its way.
        let stepped = before.injection(after) == Injection::Nothing
            || self.through == ThroughDelivery::StopsInHandler;
        (stepped && matches!(end, End::Exit(_))).then_some(1)
    }

    fn learn(&mut self, _entered: bool) {}
}

/// Removes the step from the frame that was pushed while it was on.
pub(super) fn unmark(control: &DebugControl, frame: Option<&FrameAt>, tools: &Tools<'_>) {
    if let Some(frame) = frame
        && control.adds_step()
    {
        // It was written a moment ago: a guest that has unmapped its own stack since has no frame.
        let _ = frame.clear_tf(tools.memory);
    }
}

/// Undoes what was armed with `control`, all of it also where a part fails.
pub(super) fn disarm(
    control: Option<&DebugControl>,
    tools: &mut Tools<'_>,
) -> Result<(), kvm_ioctls::Error> {
    let stopped = tools.timer.stop(tools.fd);
    if let Some(control) = control {
        tools.fd.set_guest_debug(control.user())?;
    }
    stopped
}

/// Whose the exit in the run area is, when `control` was set.
pub(super) fn owner(control: Option<&DebugControl>, tools: &Tools<'_>) -> Owner {
    match (control, decode::debug_exit(tools.area)) {
        (Some(control), Ok(Some(exit))) => control.owner(&exit),
        // An interrupt window: nobody but the user can have asked for it.
        _ => Owner::User,
    }
}
