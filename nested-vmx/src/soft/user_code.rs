// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! L1's user code. KVM runs it as it is, since nothing that L0 has to act on can be executed there; but two
//! of its exceptions may be none, or another one, on a processor that has VMX:
//!
//! - a VMX instruction is an invalid opcode where it ought to be a general-protection exception (SDM
//!   volume 3, chapter 32), or the other way round;
//! - where L1's kernel stops in code that it shares with user code, HLT stands there, which user code
//!   must not execute.
//!
//! So L1 stops at the handlers of both, and the frame there says what it was.

use super::error::SoftError;
use super::idt::vector;
use super::instruction::{Fetched, Kind};
use super::user_frame::UserFrame;
use super::vcpu::{Catch, Out, SoftVcpu};
use super::world::World;

/// The handlers at which L1 stops while user code runs.
const WATCHED: [u8; 2] = [vector::INVALID_OPCODE, vector::GENERAL_PROTECTION];

/// What user code executes, as far as is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum UserCode {
    /// Nothing of what the kernel executes.
    #[default]
    Apart,
    /// Code in which the kernel stops: while it runs, no stops are there but at handlers.
    Shared,
}

/// Where L1 was when it was last let run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Level {
    #[default]
    Kernel,
    User,
}

impl<W: World> SoftVcpu<W> {
    /// To be called before user code is let run.
    pub(super) fn enter_user_code(&mut self) {
        self.level = Level::User;
        match self.user_code {
            UserCode::Shared => {
                self.forget_stops();
                self.stop_at_all_handlers();
                for entry in self.system_calls() {
                    self.stop_at(entry);
                }
            }
            UserCode::Apart => {
                for entry in self.system_calls() {
                    match self.catch {
                        Catch::Steps => _ = self.stop_at(entry),
                        Catch::Stops | Catch::Exits => self.scan(entry),
                    }
                }
                for vector in WATCHED {
                    self.handler_of(vector).map(|at| self.stop_at(at));
                }
            }
        }
    }

    /// To be called where L1 is after it was let run: if it is in a handler because of an exception of
    /// user code's that it ought not to have, it is in user code again, perhaps with another one.
    pub(super) fn correct_user_exception(&mut self) -> Result<Option<Out>, SoftError> {
        if core::mem::take(&mut self.level) == Level::Kernel || self.state.cpl() == 3 {
            return Ok(None);
        }
        if self.for_l1.is_some() {
            return Ok(None);
        }
        match WATCHED
            .iter()
            .find_map(|vector| self.user_frame(*vector, None))
        {
            Some(frame) => self.correct(&frame),
            None => Ok(None),
        }
    }

    fn correct(&mut self, frame: &UserFrame) -> Result<Option<Out>, SoftError> {
        let user = frame.before(&self.state);
        let handler = core::mem::replace(&mut self.state, user);
        let Ok(fetched) = self.with_space(Fetched::at_rip) else {
            self.state = handler;
            return Ok(None);
        };
        let is_stop = self.sites.contains(fetched.physical) && fetched.kind() != Kind::Hlt;
        match fetched.kind() {
            Kind::Vmx => {
                let out = self.l1_instruction(&fetched)?;
                if self.for_l1.is_none_or(|event| event.vector == frame.vector) {
                    self.for_l1 = None;
                    self.state = handler;
                }
                return Ok(out);
            }
            // Where it is shared already, only handlers have stops: no user code is there.
            _ if is_stop
                && frame.vector == vector::GENERAL_PROTECTION
                && self.user_code == UserCode::Apart =>
            {
                self.user_code = UserCode::Shared;
                self.forget_stops();
            }
            _ => self.state = handler,
        }
        Ok(None)
    }
}
