// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! VM-exit controls (SDM volume 3, section 28.2.1.2).

use super::super::context::Context;
use super::super::failure::{Allowed, Violation};
use super::values::{address, bits, excludes};
use crate::controls::{ExitControls, PinControls};
use crate::vmcs::Field;

/// Bytes of an entry of an MSR area.
const ENTRY: u64 = 16;

pub fn allowed(context: &Context<'_>) -> Option<Violation> {
    let range = context.capabilities.exit();
    bits(
        context,
        Field::VmExitControls,
        range.must_be_1(),
        range.allowed_1(),
    )
}

pub fn secondary_allowed(context: &Context<'_>) -> Option<Violation> {
    if !context
        .exit
        .contains(ExitControls::ACTIVATE_SECONDARY_CONTROLS)
    {
        return None;
    }
    let range = context.capabilities.secondary_exit();
    bits(
        context,
        Field::SecondaryVmExitControls,
        range.must_be_1(),
        range.allowed_1(),
    )
}

pub fn save_timer(context: &Context<'_>) -> Option<Violation> {
    if context.pin.contains(PinControls::PREEMPTION_TIMER) {
        return None;
    }
    excludes(
        context,
        Field::VmExitControls,
        ExitControls::SAVE_PREEMPTION_TIMER.bits().into(),
    )
}

/// An MSR area is aligned, and neither its address nor its last byte is beyond the
/// physical-address width.
#[inline(always)]
pub fn area(context: &Context<'_>, at: Field, count: Field) -> Option<Violation> {
    let entries = context.vmcs.read(count);
    if entries == 0 {
        return None;
    }
    address(context, at, ENTRY).or_else(|| {
        let begin = context.vmcs.read(at);
        // 32 bits times 16.
        let last = entries * ENTRY - 1;
        let fits = begin
            .checked_add(last)
            .is_some_and(|end| end & context.beyond == 0);
        (!fits).then_some(Violation::field(
            at,
            begin,
            Allowed::Range(0, !context.beyond & !last & !(ENTRY - 1)),
        ))
    })
}

pub fn store_list(context: &Context<'_>) -> Option<Violation> {
    area(
        context,
        Field::VmExitMsrStoreAddr,
        Field::VmExitMsrStoreCount,
    )
}

pub fn load_list(context: &Context<'_>) -> Option<Violation> {
    area(context, Field::VmExitMsrLoadAddr, Field::VmExitMsrLoadCount)
}

/// More entries have undefined behavior; a machine check is among what may come of it (SDM volume
/// 3, appendix A.6). Here they fail the entry.
pub fn list_max(context: &Context<'_>) -> Option<Violation> {
    let most = u64::from(context.capabilities.misc.max_msr_list());
    let vmcs = context.vmcs;
    let counts = [
        (Field::VmExitMsrStoreCount, vmcs.vm_exit_msr_store_count()),
        (Field::VmExitMsrLoadCount, vmcs.vm_exit_msr_load_count()),
        (Field::VmEntryMsrLoadCount, vmcs.vm_entry_msr_load_count()),
    ];
    counts.into_iter().find_map(|(field, count)| {
        let count = u64::from(count);
        (count > most).then_some(Violation::field(field, count, Allowed::Range(0, most)))
    })
}
