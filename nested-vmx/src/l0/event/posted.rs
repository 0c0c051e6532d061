// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Posted-interrupt processing (SDM volume 3, section 31.6).

use crate::memory::{L1Memory, MemoryError};
use crate::vmcs::{Field, Vmcs};

/// Where the descriptor's parts are: 256 requests, then the outstanding-notification bit.
const CONTROL: u64 = 32;
const OUTSTANDING_NOTIFICATION: u64 = 1;
/// Where the virtual-APIC page has VIRR: 8 registers of 32 bits, each in 16 bytes.
const VIRR: u64 = 0x200;

/// Moves the posted requests to the virtual-APIC page, and RVI of vmcs02 to the highest one.
///
/// # Errors
///
/// [`MemoryError`]: the descriptor or the page is not memory. Requests that were moved until then
/// stay moved.
pub(in crate::l0) fn process(
    vmcs12: &Vmcs,
    memory: &dyn L1Memory,
    vmcs02: &mut Vmcs,
) -> Result<(), MemoryError> {
    let descriptor = vmcs12.posted_intr_desc_addr();
    let page = vmcs12.virtual_apic_page_addr();
    exchange(memory, descriptor.wrapping_add(CONTROL), |control| {
        control & !OUTSTANDING_NOTIFICATION
    })?;
    let mut highest = None;
    for word in 0..4_u64 {
        let requests = exchange(memory, descriptor.wrapping_add(word * 8), |_| 0)?;
        if requests == 0 {
            continue;
        }
        for half in 0..2 {
            let bits = (requests >> (32 * half)) as u32;
            let register = page.wrapping_add(VIRR + (word * 2 + half) * 16);
            let before = memory.read_u32(register)?;
            memory.write(register, &(before | bits).to_le_bytes())?;
        }
        highest = Some(word * 64 + u64::from(requests.ilog2()));
    }
    if let Some(vector) = highest {
        let status = u64::from(vmcs02.guest_intr_status());
        // RVI is the low byte.
        let rvi = vector.max(status & 0xff);
        vmcs02.write(Field::GuestIntrStatus, status & 0xff00 | rvi);
    }
    Ok(())
}

/// Replaces 8 bytes atomically, and returns what they were.
fn exchange(
    memory: &dyn L1Memory,
    address: u64,
    change: impl Fn(u64) -> u64,
) -> Result<u64, MemoryError> {
    let mut current = memory.read_u64(address)?;
    loop {
        let found = memory.compare_exchange(address, current, change(current))?;
        if found == current {
            return Ok(current);
        }
        current = found;
    }
}
