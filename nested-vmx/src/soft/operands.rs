// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The accesses that L2's next instruction makes, made before.

use super::exits;
use super::instruction::Fetched;
use super::space::Fault;
use super::state::CpuState;

/// Makes the accesses to the instruction's memory operands, without their effects.
pub(super) fn operands(
    fetched: &Fetched,
    state: &CpuState,
    space: &super::space::Space<'_>,
) -> Result<(), Fault> {
    use crate::paging::Access;
    use iced_x86::{InstructionInfoFactory, OpAccess};
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(&fetched.instruction);
    for memory in info.used_memory() {
        let address = memory.virtual_address(0, |register, _, _| {
            Some(if register.is_segment_register() {
                exits::segment_base(register, state)
            } else if register == iced_x86::Register::RIP || register == iced_x86::Register::EIP {
                state.rip()
            } else {
                let value = state.register(super::instruction::number(register));
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
        let size = memory.memory_size().size().max(1);
        let accesses: &[Access] = match memory.access() {
            OpAccess::Read | OpAccess::CondRead => &[Access::Read],
            OpAccess::Write | OpAccess::CondWrite => &[Access::Write],
            // What reads and then writes asks for both at once, as a write.
            OpAccess::ReadWrite | OpAccess::ReadCondWrite => &[Access::Write],
            _ => &[],
        };
        for access in accesses {
            // Other faults are the processor's to find.
            if let Err(fault @ Fault::Ept { .. }) = space.check(address, size, *access) {
                return Err(fault);
            }
        }
    }
    Ok(())
}

/// The tables that an exception would go through.
pub(super) fn tables(state: &CpuState, space: &super::space::Space<'_>) -> Result<(), Fault> {
    use crate::paging::Access;
    let vmcs = &state.vmcs;
    for (base, limit) in [
        (vmcs.guest_idtr_base(), vmcs.guest_idtr_limit()),
        (vmcs.guest_gdtr_base(), vmcs.guest_gdtr_limit()),
        (vmcs.guest_tr_base(), vmcs.guest_tr_limit()),
    ] {
        let length = (limit as usize & 0xffff) + 1;
        let _ = space.check(base, length.min(4096), Access::Read);
    }
    let below = (state.rsp() & !0xf).wrapping_sub(64);
    let base = exits::segment_base(iced_x86::Register::SS, state);
    space.check(base.wrapping_add(below), 64, Access::Write)
}
