// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The state of a VMCS's guest.

use nested_vmx::capability::Processor;
use nested_vmx::controls::EntryControls;
use nested_vmx::paging::PagingState;
use nested_vmx::vmcs::{Field, KVM_REVISION, Vmcs};

use crate::{LMA, NXE};

#[test]
fn from_a_vmcs() {
    let mut vmcs = Vmcs::new(KVM_REVISION);
    for (field, value) in [
        (Field::GuestCr0, 1),
        (Field::GuestCr3, 2),
        (Field::GuestCr4, 3),
        // LMA is stale: the control counts.
        (Field::GuestIa32Efer, LMA | NXE),
        (Field::GuestRflags, 4),
        (Field::GuestPdptr0, 5),
        (Field::GuestPdptr1, 6),
        (Field::GuestPdptr2, 7),
        (Field::GuestPdptr3, 8),
        (Field::GuestSsArBytes, 0xc0f3),
        (Field::GuestIa32Pkrs, 9),
    ] {
        vmcs.write(field, value);
    }
    let expected = PagingState {
        cr0: 1,
        cr3: 2,
        cr4: 3,
        efer: NXE,
        rflags: 4,
        pdptes: [5, 6, 7, 8],
        cpl: 3,
        pkru: 0,
        pkrs: 9,
        physical_address_width: 39,
        has_1g_pages: true,
    };
    let processor = Processor::new(39);
    assert_eq!(PagingState::from_vmcs(&vmcs, processor), expected);
    let control = EntryControls::IA32E_MODE_GUEST.bits();
    vmcs.write(Field::VmEntryControls, control.into());
    let efer = PagingState::from_vmcs(&vmcs, processor).efer;
    assert_eq!(efer, LMA | NXE);
}
