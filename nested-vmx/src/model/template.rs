// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A VMCS for L0 to run L1 with, and one for L1 to run L2 with: both guests in 64-bit mode.

use crate::capability::Capabilities;
use crate::controls::{
    EntryControls, ExitControls, PinControls, PrimaryControls, SecondaryControls,
};
use crate::registers::{cr0, cr4, efer, rflags};
use crate::vmcs::{Field, Vmcs};

/// Where L2 begins.
pub const L2_CODE: u64 = 0x4000;
const L1_CODE: u64 = 0x8000;
const CR0: u64 = cr0::PE | cr0::ET | cr0::NE | cr0::WP | cr0::PG;
const CR4: u64 = cr4::PAE | cr4::VMXE;
const EFER: u64 = efer::SCE | efer::LME | efer::LMA | efer::NXE;

/// 64-bit code, data, and a busy TSS.
const SEGMENTS: [(Field, u64, Field, u64, Field, u64); 8] = [
    (
        Field::GuestCsSelector,
        8,
        Field::GuestCsLimit,
        0xffff_ffff,
        Field::GuestCsArBytes,
        0xa09b,
    ),
    (
        Field::GuestSsSelector,
        16,
        Field::GuestSsLimit,
        0xffff_ffff,
        Field::GuestSsArBytes,
        0xc093,
    ),
    (
        Field::GuestDsSelector,
        16,
        Field::GuestDsLimit,
        0xffff_ffff,
        Field::GuestDsArBytes,
        0xc093,
    ),
    (
        Field::GuestEsSelector,
        16,
        Field::GuestEsLimit,
        0xffff_ffff,
        Field::GuestEsArBytes,
        0xc093,
    ),
    (
        Field::GuestFsSelector,
        16,
        Field::GuestFsLimit,
        0xffff_ffff,
        Field::GuestFsArBytes,
        0xc093,
    ),
    (
        Field::GuestGsSelector,
        16,
        Field::GuestGsLimit,
        0xffff_ffff,
        Field::GuestGsArBytes,
        0xc093,
    ),
    (
        Field::GuestLdtrSelector,
        0,
        Field::GuestLdtrLimit,
        0,
        Field::GuestLdtrArBytes,
        0x1_0000,
    ),
    (
        Field::GuestTrSelector,
        24,
        Field::GuestTrLimit,
        0x67,
        Field::GuestTrArBytes,
        0x8b,
    ),
];

fn guest(vmcs: &mut Vmcs, rip: u64) {
    for (selector, value, limit, size, access_rights, rights) in SEGMENTS {
        vmcs.write(selector, value);
        vmcs.write(limit, size);
        vmcs.write(access_rights, rights);
    }
    for (field, value) in [
        (Field::GuestCr0, CR0),
        (Field::GuestCr4, CR4),
        (Field::GuestCr3, 0x1000),
        (Field::GuestDr7, 0x400),
        (Field::GuestIa32Efer, EFER),
        (Field::GuestIa32Pat, 0x0007_0406_0007_0406),
        (Field::GuestGdtrLimit, 0xff),
        (Field::GuestIdtrLimit, 0xfff),
        (Field::GuestRip, rip),
        (Field::GuestRsp, 0x7000),
        (Field::GuestRflags, rflags::RESERVED_1),
        (Field::VmcsLinkPointer, u64::MAX),
    ] {
        vmcs.write(field, value);
    }
}

/// What L0 runs L1 with: nothing intercepted but what VMX makes exit.
pub fn l1_of(capabilities: &Capabilities) -> Vmcs {
    let mut vmcs = Vmcs::new(capabilities.basic.revision());
    guest(&mut vmcs, L1_CODE);
    let pin = PinControls::EXTERNAL_INTERRUPT_EXITING | PinControls::NMI_EXITING;
    let entry = EntryControls::IA32E_MODE_GUEST | EntryControls::LOAD_EFER;
    let exit = ExitControls::HOST_ADDRESS_SPACE_SIZE | ExitControls::LOAD_EFER;
    for (field, value) in [
        (
            Field::PinBasedVmExecControl,
            capabilities.pin().nearest(pin),
        ),
        (
            Field::CpuBasedVmExecControl,
            capabilities.primary().nearest(PrimaryControls::empty()),
        ),
        (Field::VmEntryControls, capabilities.entry().nearest(entry)),
        (Field::VmExitControls, capabilities.exit().nearest(exit)),
    ] {
        vmcs.write(field, value);
    }
    vmcs
}

/// What L1 runs L2 with: a VMCS that every VM entry of a 64-bit L1 accepts.
pub fn vmcs12_of(capabilities: &Capabilities) -> Vmcs {
    let mut vmcs = Vmcs::new(capabilities.basic.revision());
    guest(&mut vmcs, L2_CODE);
    let entry = EntryControls::IA32E_MODE_GUEST | EntryControls::LOAD_EFER;
    let exit =
        ExitControls::HOST_ADDRESS_SPACE_SIZE | ExitControls::LOAD_EFER | ExitControls::SAVE_EFER;
    for (field, value) in [
        (
            Field::PinBasedVmExecControl,
            capabilities.pin().nearest(PinControls::empty()),
        ),
        (
            Field::CpuBasedVmExecControl,
            capabilities
                .primary()
                .nearest(PrimaryControls::ACTIVATE_SECONDARY_CONTROLS),
        ),
        (
            Field::SecondaryVmExecControl,
            capabilities.secondary().nearest(SecondaryControls::empty()),
        ),
        (Field::VmEntryControls, capabilities.entry().nearest(entry)),
        (Field::VmExitControls, capabilities.exit().nearest(exit)),
        (Field::HostCr0, CR0),
        (Field::HostCr3, 0x2000),
        (Field::HostCr4, CR4),
        (Field::HostIa32Efer, EFER),
        (Field::HostIa32Pat, 0x0007_0406_0007_0406),
        (Field::HostCsSelector, 8),
        (Field::HostSsSelector, 16),
        (Field::HostDsSelector, 16),
        (Field::HostEsSelector, 16),
        (Field::HostFsSelector, 16),
        (Field::HostGsSelector, 16),
        (Field::HostTrSelector, 24),
        (Field::HostRip, 0x9000),
        (Field::HostRsp, 0xa000),
    ] {
        vmcs.write(field, value);
    }
    vmcs
}
