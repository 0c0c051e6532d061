// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! KVM's single step.

use super::debug_control::DebugControl;
use super::handler_address;
use super::interrupt_frame;
use super::mechanism::{Apply, End, Owner, Refusal, Tools, Unmet};
use super::situation::Situation;
use super::unsteppable::{LONGEST, is_flags_instruction, is_halt};
use crate::kvm::decode;
use crate::{ExitKind, Injection};

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
}

impl Step {
    pub(super) fn new(through: ThroughDelivery) -> Self {
        Self {
            through,
            control: None,
        }
    }
}

/// Whether the guest debugs itself: KVM would give its debug exceptions to whoever debugs it from
/// outside, and the guest would miss them.
pub(super) fn check_undebugged(situation: &Situation, tools: &Tools<'_>) -> Result<(), Refusal> {
    const DR7_ENABLED: u64 = 0xff;
    if situation.guest_steps() {
        return Err(Unmet::GuestSteps.into());
    }
    match tools.fd.get_debug_regs()?.dr7 & DR7_ENABLED {
        0 => Ok(()),
        _ => Err(Unmet::GuestBreakpoints.into()),
    }
}

/// Whether the guest could tell a step from none, or the host cannot step it.
pub(super) fn check_steppable(situation: &Situation, tools: &Tools<'_>) -> Result<(), Unmet> {
    check_mode(situation, tools)?;
    check_instruction(situation, situation.linear_rip(), tools)
}

/// Whether the guest can be stepped in the mode that it is in.
fn check_mode(situation: &Situation, tools: &Tools<'_>) -> Result<(), Unmet> {
    if situation.is_virtual_8086() {
        return Err(Unmet::Virtual8086);
    }
    match situation.cpl() != 0 && !tools.steps_user_code {
        true => Err(Unmet::UserCode),
        false => Ok(()),
    }
}

/// Whether the instruction at `address` may be stepped.
fn check_instruction(situation: &Situation, address: u64, tools: &Tools<'_>) -> Result<(), Unmet> {
    let mut bytes = [0; LONGEST];
    let len = tools.memory.read_some(address, &mut bytes);
    let bytes = bytes.get(..len).unwrap_or_default();
    if is_halt(bytes, situation.is_64_bit()) {
        return Err(Unmet::Halt);
    }
    match is_flags_instruction(bytes, situation.is_64_bit()) {
        true => Err(Unmet::FlagsInstruction),
        false => Ok(()),
    }
}

/// Removes the step from what was pushed while it was on, if it was ours.
pub(super) fn unmark(
    control: &DebugControl,
    before: &Situation,
    after: &Situation,
    tools: &Tools<'_>,
) {
    if control.adds_step() && !before.is_undisturbed(after) {
        interrupt_frame::remove_step(before, tools.memory);
    }
}

impl Apply for Step {
    fn prepare(&mut self, situation: &Situation, tools: &Tools<'_>) -> Result<(), Refusal> {
        let foreseen = situation.deliverable();
        if self.through == ThroughDelivery::Lost && !foreseen.is_empty() {
            return Err(Unmet::Event.into());
        }
        match foreseen.is_empty() {
            true => check_steppable(situation, tools)?,
            // The event comes before the instruction at RIP, and the handler's first one is stepped.
            false => check_mode(situation, tools)?,
        }
        for event in &foreseen {
            if let Ok(handler) = handler_address::find(&situation.sregs, tools.memory, event.vector)
            {
                check_instruction(situation, handler, tools)?;
            }
        }
        check_undebugged(situation, tools)?;
        let control = DebugControl::merge(tools.debug, true, &[])?;
        self.control = Some(match foreseen.is_empty() && tools.can_block_interrupts {
            true => control.blocking_interrupts(),
            false => control,
        });
        Ok(())
    }

    fn arm(&mut self, tools: &mut Tools<'_>) -> Result<(), kvm_ioctls::Error> {
        arm(self.control.as_ref(), tools)
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
        if let Some(control) = &self.control {
            unmark(control, before, after, tools);
        }
        let stepped = match before.injection(after) {
            // It was stepped, or made an exit on its way; not where it has faulted into a handler.
            Injection::Nothing => matches!(end, End::Exit(_)) && before.is_undisturbed(after),
            Injection::Consumed | Injection::Waits => {
                self.through == ThroughDelivery::StopsInHandler
                    && end == End::Exit(ExitKind::Debug)
                    && before.delivered(after)
            }
        };
        stepped.then_some(1)
    }

    fn learn(&mut self, _entered: bool) {}
}

/// Sets `control` for the entry, with a timer behind it.
pub(super) fn arm(
    control: Option<&DebugControl>,
    tools: &mut Tools<'_>,
) -> Result<(), kvm_ioctls::Error> {
    if let Some(control) = control {
        tools.fd.set_guest_debug(control.merged())?;
    }
    tools.timer.start_backstop(tools.fd, tools.backstop)
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
