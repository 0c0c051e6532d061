// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! MSRs that the guest-state area holds as well: what a list loads or stores is then there, and not
//! only with L0 (SDM volume 3, sections 26.4.1 and 28.4).

use crate::registers::efer;
use crate::vmcs::{Field, Vmcs};

/// The field that holds the MSR while a guest runs.
const fn field(index: u32) -> Option<Field> {
    Some(match index {
        0x48 => Field::GuestIa32SpecCtrl,
        0x174 => Field::GuestSysenterCs,
        0x175 => Field::GuestSysenterEsp,
        0x176 => Field::GuestSysenterEip,
        0x1d9 => Field::GuestIa32Debugctl,
        0x277 => Field::GuestIa32Pat,
        0x38f => Field::GuestIa32PerfGlobalCtrl,
        0x570 => Field::GuestIa32RtitCtl,
        0x6a2 => Field::GuestSCet,
        0x6a8 => Field::GuestIntrSspTable,
        0x6e1 => Field::GuestIa32Pkrs,
        0xd90 => Field::GuestBndcfgs,
        0x14ce => Field::GuestIa32LbrCtl,
        0xc000_0080 => Field::GuestIa32Efer,
        _ => return None,
    })
}

/// The guest of this VMCS has this value in the MSR.
pub(super) fn write(vmcs: &mut Vmcs, index: u32, value: u64) {
    let Some(field) = field(index) else {
        return;
    };
    let value = match field {
        // WRMSR does not change LMA.
        Field::GuestIa32Efer => value & !efer::LMA | vmcs.guest_ia32_efer() & efer::LMA,
        _ => value,
    };
    vmcs.write(field, value);
}

/// What the guest of this VMCS has in the MSR, if the VMCS holds it.
pub(super) fn read(vmcs: &Vmcs, index: u32) -> Option<u64> {
    field(index).map(|field| vmcs.read(field))
}
