// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What VMLAUNCH and VMRESUME ask before they look at a field (SDM volume 3, section 28.1).

use super::super::spoiler::when;
use super::{Recipe, recipe};
use crate::check::{EntryInstruction, Rule};
use crate::vmcs::LaunchState;

pub(super) const RECIPES: &[Recipe] = &[
    recipe!(CurrentVmcs, |_| {}, |s| {
        s.scenario.address = None;
        Some(())
    }),
    recipe!(NotShadow, |_| {}, |s| {
        let revision = s.vmcs().revision();
        s.scenario.vmcs12.set_header(revision, true);
        Some(())
    }),
    recipe!(MovSs, |_| {}, |s| {
        s.scenario.mov_ss = true;
        Some(())
    }),
    recipe!(
        LaunchClear,
        |p| p.instruction = Some(EntryInstruction::Vmlaunch),
        |s| {
            when(s.scenario.instruction == EntryInstruction::Vmlaunch)?;
            s.scenario.vmcs12.set_launch_state(LaunchState::Launched);
            Some(())
        }
    ),
    recipe!(
        ResumeLaunched,
        |p| p.instruction = Some(EntryInstruction::Vmresume),
        |s| {
            when(s.scenario.instruction == EntryInstruction::Vmresume)?;
            s.scenario.vmcs12.set_launch_state(LaunchState::Clear);
            Some(())
        }
    ),
];
