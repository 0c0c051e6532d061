// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The accesses that L2's next instruction makes, made before.

use iced_x86::{InstructionInfoFactory, MemorySize, OpAccess};

use super::exits;
use super::instruction::{Fetched, number};
use super::space::{Fault, Space};
use super::state::CpuState;
use crate::paging::Access;

/// Makes the accesses to the instruction's memory operands, without their effects.
///
/// # Errors
///
/// The first fault, of L2's paging or of EPT12.
pub(super) fn operands(
    fetched: &Fetched,
    state: &CpuState,
    space: &Space<'_>,
) -> Result<(), Fault> {
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(&fetched.instruction);
    for memory in info.used_memory() {
        let address = memory.virtual_address(0, |register, _, _| {
            Some(if register.is_vector_register() {
                // Gathers and scatters, which an L2 with EPT does not have: XCR0 is not for them.
                return None;
            } else if register.is_segment_register() {
                exits::segment_base(register, state)
            } else if register == iced_x86::Register::RIP || register == iced_x86::Register::EIP {
                state.rip()
            } else {
                let value = state.register(number(register));
                match register.size() {
                    2 => value & 0xffff,
                    4 => value & 0xffff_ffff,
                    _ => value,
                }
            })
        });
        let Some(address) = address else {
            continue;
        };
        let size = length(memory);
        let accesses: &[Access] = match memory.access() {
            OpAccess::Read | OpAccess::CondRead => &[Access::Read],
            OpAccess::Write | OpAccess::CondWrite => &[Access::Write],
            // What reads and then writes asks for both at once, as a write.
            OpAccess::ReadWrite | OpAccess::ReadCondWrite => &[Access::Write],
            _ => &[],
        };
        for access in accesses {
            match space.check(address, size, *access) {
                // What is no memory may be a device's.
                Ok(()) | Err(Fault::NotMemory) => {}
                Err(fault) => return Err(fault),
            }
        }
    }
    Ok(())
}

/// How many bytes an operand has.
fn length(memory: &iced_x86::UsedMemory) -> usize {
    match memory.memory_size() {
        // The legacy area and the header. L2 has no more with EPT, and without it nothing of memory
        // has to be shown.
        MemorySize::Xsave | MemorySize::Xsave64 => 576,
        size => size.size().max(1),
    }
}

/// The tables that an exception would go through: as much of them as it takes as a rule.
pub(super) fn tables(state: &CpuState, space: &Space<'_>) {
    space.implicitly(|space| usual_tables(state, space));
}

fn usual_tables(state: &CpuState, space: &Space<'_>) {
    let vmcs = &state.vmcs;
    for (base, limit) in [
        (vmcs.guest_idtr_base(), vmcs.guest_idtr_limit()),
        (vmcs.guest_gdtr_base(), vmcs.guest_gdtr_limit()),
        (vmcs.guest_tr_base(), vmcs.guest_tr_limit()),
    ] {
        let length = (limit as usize & 0xffff) + 1;
        let _ = space.check(base, length.min(4096), Access::Read);
    }
    let below = (state.rsp() & !0xf).wrapping_sub(FRAME as u64);
    let base = exits::segment_base(iced_x86::Register::SS, state);
    let _ = space.check(base.wrapping_add(below), FRAME, Access::Write);
}

/// The most that an exception pushes, and some more.
const FRAME: usize = 64;

/// All of the tables, and the stacks that the TSS has.
pub(super) fn all_tables(state: &CpuState, space: &Space<'_>) {
    space.implicitly(|space| each_table(state, space));
}

fn each_table(state: &CpuState, space: &Space<'_>) {
    let vmcs = &state.vmcs;
    for (base, limit) in [
        (vmcs.guest_idtr_base(), vmcs.guest_idtr_limit()),
        (vmcs.guest_gdtr_base(), vmcs.guest_gdtr_limit()),
        (vmcs.guest_ldtr_base(), vmcs.guest_ldtr_limit()),
        (vmcs.guest_tr_base(), vmcs.guest_tr_limit()),
    ] {
        for page in 0..=limit >> 12 & 0xf {
            let _ = space.check(base.wrapping_add(u64::from(page) << 12), 1, Access::Read);
        }
        let end = base.wrapping_add(u64::from(limit & 0xffff));
        let _ = space.check(end, 1, Access::Read);
    }
    let tss = vmcs.guest_tr_base();
    if !state.is_long() {
        // ESP0; its segment begins at 0 as a rule.
        let mut top = [0; 4];
        if space.read(tss.wrapping_add(4), &mut top).is_ok() {
            let below = u64::from(u32::from_le_bytes(top)).wrapping_sub(FRAME as u64);
            let _ = space.check(below & 0xffff_ffff, FRAME, Access::Write);
        }
        return;
    }
    // RSP0 to RSP2, IST1 to IST7.
    for at in (4..28).step_by(8).chain((0x24..0x5c).step_by(8)) {
        let mut top = [0; 8];
        if space.read(tss.wrapping_add(at), &mut top).is_ok() {
            let below = (u64::from_le_bytes(top) & !0xf).wrapping_sub(FRAME as u64);
            let _ = space.check(below, FRAME, Access::Write);
        }
    }
}
