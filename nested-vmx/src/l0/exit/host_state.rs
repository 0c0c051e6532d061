// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! L1's state after a VM exit: the host-state area of vmcs12 becomes the guest-state area of
//! vmcs01 (SDM volume 3, section 29.5).

use super::super::control_register::{CR0, CR4, ControlRegister};
use super::super::vmcs02::{CR0_KEPT, PDPTES};
use super::Abort;
use crate::capability::Capabilities;
use crate::controls::{EntryControls, ExitControls, SecondaryExitControls};
use crate::memory::L1Memory;
use crate::registers::{activity, cr4, efer, rflags};
use crate::vmcs::{Field, Vmcs};

/// Access rights after a VM exit (SDM volume 3, section 29.5.2).
mod access_rights {
    pub const CODE_64: u64 = 0xa09b;
    pub const CODE_32: u64 = 0xc09b;
    pub const DATA: u64 = 0xc093;
    pub const BUSY_TSS: u64 = 0x8b;
    pub const UNUSABLE: u64 = 1 << 16;
}

/// A segment's fields: selector in the host-state area; selector, base, limit and access rights in
/// the guest-state area.
type Segment = (Field, Field, Field, Field, Field);

const DATA_SEGMENTS: [Segment; 5] = [
    (
        Field::HostEsSelector,
        Field::GuestEsSelector,
        Field::GuestEsBase,
        Field::GuestEsLimit,
        Field::GuestEsArBytes,
    ),
    (
        Field::HostSsSelector,
        Field::GuestSsSelector,
        Field::GuestSsBase,
        Field::GuestSsLimit,
        Field::GuestSsArBytes,
    ),
    (
        Field::HostDsSelector,
        Field::GuestDsSelector,
        Field::GuestDsBase,
        Field::GuestDsLimit,
        Field::GuestDsArBytes,
    ),
    (
        Field::HostFsSelector,
        Field::GuestFsSelector,
        Field::GuestFsBase,
        Field::GuestFsLimit,
        Field::GuestFsArBytes,
    ),
    (
        Field::HostGsSelector,
        Field::GuestGsSelector,
        Field::GuestGsBase,
        Field::GuestGsLimit,
        Field::GuestGsArBytes,
    ),
];

/// Fields that are copied from the host-state area to the guest-state area.
const COPIED: &[(Field, Field)] = &[
    (Field::HostIa32SysenterCs, Field::GuestSysenterCs),
    (Field::HostIa32SysenterEsp, Field::GuestSysenterEsp),
    (Field::HostIa32SysenterEip, Field::GuestSysenterEip),
    (Field::HostFsBase, Field::GuestFsBase),
    (Field::HostGsBase, Field::GuestGsBase),
    (Field::HostTrBase, Field::GuestTrBase),
    (Field::HostGdtrBase, Field::GuestGdtrBase),
    (Field::HostIdtrBase, Field::GuestIdtrBase),
    (Field::HostTrSelector, Field::GuestTrSelector),
    (Field::HostRsp, Field::GuestRsp),
    (Field::HostRip, Field::GuestRip),
];

/// Fields that are copied if an exit control says so.
const COPIED_ON_DEMAND: &[(ExitControls, &[(Field, Field)])] = &[
    (
        ExitControls::LOAD_PERF_GLOBAL_CTRL,
        &[(
            Field::HostIa32PerfGlobalCtrl,
            Field::GuestIa32PerfGlobalCtrl,
        )],
    ),
    (
        ExitControls::LOAD_PAT,
        &[(Field::HostIa32Pat, Field::GuestIa32Pat)],
    ),
    (
        ExitControls::LOAD_CET,
        &[
            (Field::HostSCet, Field::GuestSCet),
            (Field::HostSsp, Field::GuestSsp),
            (Field::HostIntrSspTable, Field::GuestIntrSspTable),
        ],
    ),
    (
        ExitControls::LOAD_PKRS,
        &[(Field::HostIa32Pkrs, Field::GuestIa32Pkrs)],
    ),
];

/// Fields that are cleared if an exit control says so.
const CLEARED_ON_DEMAND: &[(ExitControls, Field)] = &[
    (ExitControls::CLEAR_BNDCFGS, Field::GuestBndcfgs),
    (ExitControls::CLEAR_RTIT_CTL, Field::GuestIa32RtitCtl),
    (ExitControls::CLEAR_LBR_CTL, Field::GuestIa32LbrCtl),
    (ExitControls::CLEAR_UINV, Field::GuestUinv),
];

/// Fields that are copied if a secondary exit control says so.
const COPIED_ON_SECONDARY_DEMAND: &[(SecondaryExitControls, &[(Field, Field)])] = &[
    (
        SecondaryExitControls::LOAD_FRED,
        &[
            (Field::HostIa32FredConfig, Field::GuestIa32FredConfig),
            (Field::HostIa32FredRsp1, Field::GuestIa32FredRsp1),
            (Field::HostIa32FredRsp2, Field::GuestIa32FredRsp2),
            (Field::HostIa32FredRsp3, Field::GuestIa32FredRsp3),
            (
                Field::HostIa32FredStackLevels,
                Field::GuestIa32FredStackLevels,
            ),
            (Field::HostIa32FredSsp1, Field::GuestIa32FredSsp1),
            (Field::HostIa32FredSsp2, Field::GuestIa32FredSsp2),
            (Field::HostIa32FredSsp3, Field::GuestIa32FredSsp3),
        ],
    ),
    (
        SecondaryExitControls::LOAD_SPEC_CTRL,
        &[(Field::HostIa32SpecCtrl, Field::GuestIa32SpecCtrl)],
    ),
];

/// Loads L1's state into vmcs01.
///
/// # Errors
///
/// [`Abort::HostPdptes`]: L1 is to use PAE paging, and its PDPTEs are not valid.
pub(in crate::l0) fn load(
    capabilities: &Capabilities,
    vmcs12: &Vmcs,
    memory: &dyn L1Memory,
    vmcs01: &mut Vmcs,
) -> Result<(), Abort> {
    let exit = vmcs12.exit();
    let is_64_bit = exit.contains(ExitControls::HOST_ADDRESS_SPACE_SIZE);

    control_registers(capabilities, vmcs12, is_64_bit, vmcs01);
    for &(from, to) in COPIED {
        vmcs01.write(to, vmcs12.read(from));
    }
    for &(control, fields) in COPIED_ON_DEMAND {
        if exit.contains(control) {
            for &(from, to) in fields {
                vmcs01.write(to, vmcs12.read(from));
            }
        }
    }
    let secondary_exit = vmcs12.secondary_exit();
    for &(control, fields) in COPIED_ON_SECONDARY_DEMAND {
        if secondary_exit.contains(control) {
            for &(from, to) in fields {
                vmcs01.write(to, vmcs12.read(from));
            }
        }
    }
    for &(control, field) in CLEARED_ON_DEMAND {
        if exit.contains(control) {
            vmcs01.write(field, 0);
        }
    }
    efer(vmcs12, is_64_bit, vmcs01);
    segments(vmcs12, is_64_bit, vmcs01);
    vmcs01.write(Field::GuestDr7, 0x400);
    vmcs01.write(Field::GuestIa32Debugctl, 0);
    vmcs01.write(Field::GuestRflags, rflags::RESERVED_1);
    vmcs01.write(Field::GuestPendingDbgExceptions, 0);
    vmcs01.write(Field::GuestActivityState, activity::ACTIVE.into());
    pdptes(capabilities, vmcs12, is_64_bit, memory, vmcs01)
}

fn control_registers(
    capabilities: &Capabilities,
    vmcs12: &Vmcs,
    is_64_bit: bool,
    vmcs01: &mut Vmcs,
) {
    let register = ControlRegister::of(vmcs01, CR0);
    let value = vmcs12.host_cr0() & !CR0_KEPT | register.view() & CR0_KEPT;
    register.with_view(value).write(vmcs01, CR0);

    let mut value = vmcs12.host_cr4();
    if is_64_bit {
        value |= cr4::PAE;
    } else {
        value &= !cr4::PCIDE;
    }
    ControlRegister::of(vmcs01, CR4)
        .with_view(value)
        .write(vmcs01, CR4);

    let cr3 = vmcs12.host_cr3() & !capabilities.processor.beyond_physical();
    vmcs01.write(Field::GuestCr3, cr3);
}

/// IA32_EFER, and the entry control with which L0 enters L1 in that mode.
fn efer(vmcs12: &Vmcs, is_64_bit: bool, vmcs01: &mut Vmcs) {
    let mut value = match vmcs12.exit().contains(ExitControls::LOAD_EFER) {
        true => vmcs12.host_ia32_efer(),
        false => vmcs01.guest_ia32_efer(),
    };
    match is_64_bit {
        true => value |= efer::LMA | efer::LME,
        false => value &= !(efer::LMA | efer::LME),
    }
    vmcs01.write(Field::GuestIa32Efer, value);
    let mut entry = vmcs01.entry();
    entry.set(EntryControls::IA32E_MODE_GUEST, is_64_bit);
    vmcs01.write(Field::VmEntryControls, entry.bits().into());
}

fn segments(vmcs12: &Vmcs, is_64_bit: bool, vmcs01: &mut Vmcs) {
    const MAX: u64 = 0xffff_ffff;
    vmcs01.write(Field::GuestCsSelector, vmcs12.host_cs_selector().into());
    vmcs01.write(Field::GuestCsBase, 0);
    vmcs01.write(Field::GuestCsLimit, MAX);
    let code = match is_64_bit {
        true => access_rights::CODE_64,
        false => access_rights::CODE_32,
    };
    vmcs01.write(Field::GuestCsArBytes, code);
    for (host, selector, base, limit, rights) in DATA_SEGMENTS {
        let value = vmcs12.read(host);
        vmcs01.write(selector, value);
        if !matches!(base, Field::GuestFsBase | Field::GuestGsBase) {
            vmcs01.write(base, 0);
        }
        vmcs01.write(limit, MAX);
        let usable = match value {
            0 => access_rights::UNUSABLE,
            _ => 0,
        };
        vmcs01.write(rights, access_rights::DATA | usable);
    }
    vmcs01.write(Field::GuestTrLimit, 0x67);
    vmcs01.write(Field::GuestTrArBytes, access_rights::BUSY_TSS);
    vmcs01.write(Field::GuestLdtrSelector, 0);
    vmcs01.write(Field::GuestLdtrArBytes, access_rights::UNUSABLE);
    vmcs01.write(Field::GuestGdtrLimit, 0xffff);
    vmcs01.write(Field::GuestIdtrLimit, 0xffff);
}

/// The PDPTEs of a 32-bit L1 with PAE paging come from its memory (SDM volume 3, section 29.5.4).
fn pdptes(
    capabilities: &Capabilities,
    vmcs12: &Vmcs,
    is_64_bit: bool,
    memory: &dyn L1Memory,
    vmcs01: &mut Vmcs,
) -> Result<(), Abort> {
    if is_64_bit || vmcs12.host_cr4() & cr4::PAE == 0 {
        return Ok(());
    }
    let pdptes = super::super::pdptes::read(capabilities, vmcs12.host_cr3(), memory)
        .ok_or(Abort::HostPdptes)?;
    for (field, value) in PDPTES.into_iter().zip(pdptes) {
        vmcs01.write(field, value);
    }
    Ok(())
}
