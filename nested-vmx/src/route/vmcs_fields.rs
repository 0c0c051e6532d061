// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! VMREAD and VMWRITE of L2's (SDM volume 3, sections 26.6.15 and 27.1.3).

use super::Exit;
use crate::controls::SecondaryControls;
use crate::memory::L1Memory;
use crate::vmcs::Vmcs;

/// Whether L1 wants the access to exit.
pub(super) fn exits(exit: &Exit, vmcs12: &Vmcs, bitmap: u64, memory: &dyn L1Memory) -> bool {
    // Reg2: the register that holds the field's encoding (table 29-14).
    let field = exit.register(exit.instruction_information >> 28);
    let field = match exit.is_64_bit {
        true => field,
        false => field & 0xffff_ffff,
    };
    !may_access(vmcs12, bitmap, field, memory)
}

/// Whether L2 may access the field of the VMCS that the link pointer refers to. Beyond bit 14 the
/// bitmap has nothing, and a bitmap that is no memory says nothing: both are L1's to deal with.
pub(crate) fn may_access(vmcs12: &Vmcs, bitmap: u64, field: u64, memory: &dyn L1Memory) -> bool {
    let shadowing = vmcs12
        .secondary()
        .contains(SecondaryControls::VMCS_SHADOWING);
    let mut byte = [0; 1];
    shadowing
        && field >> 15 == 0
        && bitmap
            .checked_add(field >> 3)
            .is_some_and(|address| memory.read(address, &mut byte).is_ok())
        && byte[0] >> (field & 7) & 1 == 0
}
