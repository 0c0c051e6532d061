// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The VM-entry MSR-load area (SDM volume 3, section 28.4).

use super::super::context::Context;
use super::super::failure::{Allowed, Subject, Violation};

/// Bytes of an entry: index, reserved, value.
const ENTRY: u64 = 16;

/// Whether VM entries and VM exits load this MSR from a list at all. They do not load what the
/// guest- and host-state areas hold, the x2APIC's registers, what only SMM may write, and what
/// starts a microcode update.
pub const fn is_loadable(index: u32) -> bool {
    const FS_BASE: u32 = 0xc000_0100;
    const GS_BASE: u32 = 0xc000_0101;
    const SMM_MONITOR_CTL: u32 = 0x9b;
    const BIOS_UPDT_TRIG: u32 = 0x79;
    const BIOS_SIGN_ID: u32 = 0x8b;
    !matches!(
        index,
        FS_BASE | GS_BASE | SMM_MONITOR_CTL | BIOS_UPDT_TRIG | BIOS_SIGN_ID
    ) && index >> 8 != 8
}

pub fn entries(context: &Context<'_>) -> Option<Violation> {
    let memory = context.request.memory?;
    let most = context.capabilities.misc.max_msr_list();
    let count = context.vmcs.vm_entry_msr_load_count().min(most);
    (0..count).find_map(|at| {
        let number = at + 1;
        let offset = u64::from(at) * ENTRY;
        let mut bytes = [0; ENTRY as usize];
        let address = context.vmcs.vm_entry_msr_load_addr().checked_add(offset);
        let is_read = address.is_some_and(|address| memory.read(address, &mut bytes).is_ok());
        let entry = u128::from_le_bytes(bytes);
        let index = entry as u32;
        let reserved = (entry >> 32) as u32;
        let value = (entry >> 64) as u64;
        let refused = reserved != 0
            || !is_loadable(index)
            || context
                .request
                .msrs
                .is_some_and(|msrs| msrs.check_write(index, value).is_err());
        let allowed = match is_read {
            false => Allowed::Memory,
            true if refused => Allowed::LoadableMsr,
            true => return None,
        };
        Some(
            Violation::new(
                Subject::MsrEntry(number),
                u64::from(reserved) << 32 | u64::from(index),
                allowed,
            )
            .with_qualification(number.into()),
        )
    })
}
