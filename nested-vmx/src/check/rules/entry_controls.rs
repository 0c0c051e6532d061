// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! VM-entry controls (SDM volume 3, section 28.2.1.3). The injected event is in `injection.rs`.

use super::super::context::Context;
use super::super::failure::Violation;
use super::exit_controls::area;
use super::values::{bits, excludes};
use crate::controls::EntryControls;
use crate::vmcs::Field;

pub fn allowed(context: &Context<'_>) -> Option<Violation> {
    let range = context.capabilities.entry();
    bits(
        context,
        Field::VmEntryControls,
        range.must_be_1(),
        range.allowed_1(),
    )
}

pub fn load_list(context: &Context<'_>) -> Option<Violation> {
    area(
        context,
        Field::VmEntryMsrLoadAddr,
        Field::VmEntryMsrLoadCount,
    )
}

pub fn smm(context: &Context<'_>) -> Option<Violation> {
    let to_smm = EntryControls::ENTRY_TO_SMM;
    let deactivate = EntryControls::DEACTIVATE_DUAL_MONITOR;
    let excluded = match context.request.l1.in_smm {
        false => to_smm | deactivate,
        // In SMM, not both.
        true if context.entry.contains(to_smm | deactivate) => deactivate,
        true => EntryControls::empty(),
    };
    excludes(context, Field::VmEntryControls, excluded.bits().into())
}
