// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A VMCS with which L2 can be entered: 64-bit mode in L1 and L2, flat segments, L1's page tables.

use nested_vmx::vmcs::Field;

use crate::layout;
use crate::tables::{CODE_64, DATA, GDT_LIMIT, IDT_LIMIT, TASK, TSS_LIMIT};

/// PG, NE, ET and PE.
pub const CR0: u64 = 0x8000_0031;
/// PAE and VMXE.
pub const CR4: u64 = 0x2020;

/// All but the controls, HostRsp and HostRip.
pub fn fields() -> Vec<(Field, u64)> {
    use Field::*;
    const FLAT: u64 = 0xffff_ffff;
    const UNUSABLE: u64 = 1 << 16;
    let mut fields = vec![
        (GuestCsSelector, CODE_64.into()),
        (GuestCsLimit, FLAT),
        (GuestCsArBytes, 0xa09b),
        (HostCsSelector, CODE_64.into()),
        (GuestLdtrArBytes, UNUSABLE),
        (GuestTrSelector, TASK.into()),
        (GuestTrBase, layout::TSS),
        (GuestTrLimit, TSS_LIMIT),
        (GuestTrArBytes, 0x8b),
        (HostTrSelector, TASK.into()),
        (HostTrBase, layout::TSS),
        (GuestGdtrBase, layout::GDT),
        (GuestGdtrLimit, GDT_LIMIT.into()),
        (HostGdtrBase, layout::GDT),
        (GuestIdtrBase, layout::L2_IDT),
        (GuestIdtrLimit, IDT_LIMIT.into()),
        (HostIdtrBase, layout::L1_IDT),
        (VmcsLinkPointer, u64::MAX),
        (GuestDr7, 0x400),
        (GuestRsp, layout::L2_STACK),
        (GuestRflags, 2),
    ];
    for field in [
        HostEsSelector,
        HostSsSelector,
        HostDsSelector,
        HostFsSelector,
        HostGsSelector,
    ] {
        fields.push((field, DATA.into()));
    }
    for (selector, limit, rights) in [
        (GuestEsSelector, GuestEsLimit, GuestEsArBytes),
        (GuestSsSelector, GuestSsLimit, GuestSsArBytes),
        (GuestDsSelector, GuestDsLimit, GuestDsArBytes),
        (GuestFsSelector, GuestFsLimit, GuestFsArBytes),
        (GuestGsSelector, GuestGsLimit, GuestGsArBytes),
    ] {
        fields.extend([(selector, DATA.into()), (limit, FLAT), (rights, 0xc093)]);
    }
    for (cr0, cr3, cr4) in [(GuestCr0, GuestCr3, GuestCr4), (HostCr0, HostCr3, HostCr4)] {
        fields.extend([(cr0, CR0), (cr3, layout::PML4), (cr4, CR4)]);
    }
    fields
}
