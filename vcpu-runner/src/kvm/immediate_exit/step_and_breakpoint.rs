// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A hardware breakpoint on the first instruction of each handler that may be entered, and a single
//! step for the case that none is.

use super::debug_control::DebugControl;
use super::event::Event;
use super::handler_address;
use super::mechanism::{Apply, End, Owner, Refusal, Tools, Unmet};
use super::situation::Situation;
use super::step::{self, check_steppable, check_undebugged};
use crate::ExitKind;

#[derive(Debug, Default)]
pub(super) struct StepAndBreakpoint {
    control: Option<DebugControl>,
    /// Addresses of the handlers' first instructions.
    handlers: Vec<u64>,
}

impl Apply for StepAndBreakpoint {
    fn prepare(&mut self, situation: &Situation, tools: &Tools<'_>) -> Result<(), Refusal> {
        let find = |event: Event| {
            handler_address::find(&situation.sregs, tools.memory, event.vector).map_err(|reason| {
                Unmet::NoHandler {
                    vector: event.vector,
                    reason,
                }
            })
        };
        let events = situation.deliverable().into_iter();
        self.handlers = events.map(find).collect::<Result<_, _>>()?;
        if self.handlers.is_empty() {
            return Err(Unmet::NoEvent.into());
        }
        check_undebugged(situation, tools)?;
        // With several events one may be delivered into the handler of another, and the frame that
        // shows the step then lies deeper in the stack: no step, rather.
        let step = self.handlers.len() == 1 && check_steppable(situation, tools).is_ok();
        self.control = Some(DebugControl::merge(tools.debug, step, &self.handlers)?);
        Ok(())
    }

    fn arm(&mut self, tools: &mut Tools<'_>) -> Result<(), kvm_ioctls::Error> {
        step::arm(self.control.as_ref(), tools)
    }

    fn disarm(&mut self, tools: &mut Tools<'_>) -> Result<(), kvm_ioctls::Error> {
        step::disarm(self.control.as_ref(), tools)
    }

    fn owner(&self, tools: &Tools<'_>) -> Owner {
        step::owner(self.control.as_ref(), tools)
    }

    fn settle(
        &mut self,
        before: &Situation,
        after: &Situation,
        end: End,
        tools: &Tools<'_>,
    ) -> Option<u64> {
        if let Some(control) = &self.control {
            step::unmark(control, before, after, tools);
        }
        let at_handler = self.handlers.contains(&after.linear_rip());
        let stopped = end == End::Exit(ExitKind::Debug) && before.delivered(after);
        (at_handler && stopped).then_some(0)
    }

    fn learn(&mut self, _entered: bool) {}
}
