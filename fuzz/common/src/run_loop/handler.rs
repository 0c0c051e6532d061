// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A handler that reacts as the script says.

use std::vec;

use vcpu_runner::scripted::ScriptedVcpu;
use vcpu_runner::{Exit, Flow, Handler, ImmediateExit, NotEntered};

use super::events::Events;
use super::script::{ask_immediate_exit, make_all};
use super::{Ask, LateHandle};

/// What the handler does with one exit.
#[derive(Clone, Copy)]
pub(super) struct Reaction {
    /// The exit comes from finishing I/O, not from the guest.
    pub(super) is_completion: bool,
    /// Picks what is returned.
    pub(super) flow: u8,
    /// Requests that are made meanwhile.
    pub(super) asks: u8,
}

/// The handler does not want to go on.
#[derive(Debug)]
pub(super) struct Refused;

pub(super) struct Reactor {
    reactions: vec::IntoIter<Reaction>,
    number: u64,
    /// Requests that handling requests makes, until there are none left.
    again: Vec<u8>,
    events: Events,
    handle: LateHandle,
}

impl Reactor {
    pub(super) fn new(reactions: Vec<Reaction>, events: &Events, handle: &LateHandle) -> Self {
        Self {
            again: reactions.iter().map(|reaction| reaction.flow).collect(),
            reactions: reactions.into_iter(),
            number: 0,
            events: events.clone(),
            handle: handle.clone(),
        }
    }

    fn make_all(&self, mask: u8) {
        if let Some(handle) = self.handle.get() {
            make_all(&self.events, handle, mask);
        }
    }

    fn flow(&self, pick: u8) -> Result<Flow, Refused> {
        match pick % 32 {
            0 => {
                // Nobody else would wake it up.
                self.make_all(1 << Ask::GoOn as u8);
                Ok(Flow::Halt)
            }
            1 => Ok(Flow::Inspect),
            2 => Ok(Flow::Runnable),
            3 => {
                self.events.ask_stop();
                Ok(Flow::Stop)
            }
            4 => {
                self.events.refuse();
                Err(Refused)
            }
            _ => Ok(Flow::Continue),
        }
    }
}

impl Handler<ScriptedVcpu> for Reactor {
    type Request = Ask;
    type Error = Refused;

    fn exit(&mut self, exit: Exit<'_>) -> Result<Flow, Refused> {
        let reaction = self.reactions.next().expect("one for each exit");
        // A completion at the script's beginning, or after EAGAIN, has no exit before it and comes
        // from the guest; either way only what is known to come from the guest is checked.
        if !reaction.is_completion {
            self.events.guest_runs();
        }
        self.events.exit(self.number);
        self.number += 1;
        if let Exit::IoIn { data, .. } | Exit::MmioRead { data, .. } = exit {
            data.fill(reaction.asks);
            self.events.answered(data);
        }
        self.make_all(reaction.asks);
        self.flow(reaction.flow)
    }

    fn request(&mut self, ask: Ask, vcpu: &mut ScriptedVcpu) -> Result<Flow, Refused> {
        self.events.handled(ask);
        if self.needs_registers(ask) {
            assert!(vcpu.io_is_finished(), "{ask:?} sees unfinished I/O");
        }
        if let Some(mask) = self.again.pop() {
            self.make_all(mask);
        }
        Ok(match ask {
            Ask::GoOn => Flow::Runnable,
            _ => Flow::Continue,
        })
    }

    fn needs_registers(&self, ask: Ask) -> bool {
        ask != Ask::Light
    }

    fn immediate_exit(
        &mut self,
        _: &Result<ImmediateExit, NotEntered>,
        vcpu: &mut ScriptedVcpu,
    ) -> Result<Flow, Refused> {
        self.events.immediate_exit_told();
        assert!(
            vcpu.io_is_finished(),
            "I/O is unfinished after an immediate exit"
        );
        let Some(pick) = self.again.pop() else {
            return Ok(Flow::Continue);
        };
        // Once more, from its own turn.
        if let (true, Some(handle)) = (pick.is_multiple_of(4), self.handle.get()) {
            ask_immediate_exit(&self.events, handle);
        }
        self.make_all(pick);
        self.flow(pick)
    }

    fn inspect(&mut self, _: &mut ScriptedVcpu) -> Result<Flow, Refused> {
        let pick = self.again.pop().unwrap_or(u8::MAX);
        self.flow(pick)
    }
}
