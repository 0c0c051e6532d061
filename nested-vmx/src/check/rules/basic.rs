// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Before the VMCS is looked at (SDM volume 3, section 28.1).

use super::super::context::Context;
use super::super::failure::{Allowed, Subject, Violation};
use super::super::request::EntryInstruction;
use crate::registers::interruptibility;
use crate::vmcs::LaunchState;

pub fn current_vmcs(context: &Context<'_>) -> Option<Violation> {
    match context.request.current {
        Some(_) => None,
        None => Some(Violation::new(
            Subject::CurrentVmcs,
            u64::MAX,
            Allowed::Not(u64::MAX),
        )),
    }
}

pub fn not_shadow(context: &Context<'_>) -> Option<Violation> {
    let revision = u64::from(context.vmcs.revision());
    context.vmcs.is_shadow().then_some(Violation::new(
        Subject::Header,
        revision | 1 << 31,
        Allowed::Exactly(revision),
    ))
}

pub fn mov_ss(context: &Context<'_>) -> Option<Violation> {
    let state = u64::from(interruptibility::MOV_SS);
    context.request.mov_ss.then_some(Violation::new(
        Subject::L1Interruptibility,
        state,
        Allowed::Bits {
            must_be_1: 0,
            may_be_1: !state,
        },
    ))
}

fn launch_state(
    context: &Context<'_>,
    instruction: EntryInstruction,
    needed: LaunchState,
) -> Option<Violation> {
    let number = |state| match state {
        LaunchState::Clear => 0,
        LaunchState::Launched => 1,
    };
    let state = context.vmcs.launch_state();
    (context.request.instruction == instruction && state != needed).then_some(Violation::new(
        Subject::LaunchState,
        number(state),
        Allowed::Exactly(number(needed)),
    ))
}

pub fn launch_clear(context: &Context<'_>) -> Option<Violation> {
    launch_state(context, EntryInstruction::Vmlaunch, LaunchState::Clear)
}

pub fn resume_launched(context: &Context<'_>) -> Option<Violation> {
    launch_state(context, EntryInstruction::Vmresume, LaunchState::Launched)
}
