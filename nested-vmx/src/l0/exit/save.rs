// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! L2's state into vmcs12 (SDM volume 3, section 29.3).

use super::super::control_register::{CR0, CR4, ControlRegister};
use super::super::vmcs02::{CET_STATE, FRED_STATE, PDPTES, SAVED_STATE, cr0_of_l2};
use crate::capability::Capabilities;
use crate::controls::{EntryControls, ExitControls, SecondaryControls, SecondaryExitControls};
use crate::registers::{cr0, cr4, efer, interruptibility};
use crate::vmcs::{Field, Vmcs};

/// Guest state that a VM exit saves where the processor has the feature at all: with the control
/// that would load it (SDM volume 3, sections 29.3.1 and 29.3.4).
const SAVED_WITH_FEATURE: &[(EntryControls, &[Field])] = &[
    (EntryControls::LOAD_BNDCFGS, &[Field::GuestBndcfgs]),
    (EntryControls::LOAD_RTIT_CTL, &[Field::GuestIa32RtitCtl]),
    (EntryControls::LOAD_UINV, &[Field::GuestUinv]),
    (EntryControls::LOAD_CET, CET_STATE),
    (EntryControls::LOAD_LBR_CTL, &[Field::GuestIa32LbrCtl]),
    (EntryControls::LOAD_PKRS, &[Field::GuestIa32Pkrs]),
];

/// Guest state that a VM exit saves if an exit control says so.
const SAVED_ON_DEMAND: &[(ExitControls, &[Field])] = &[
    (
        ExitControls::SAVE_DEBUG_CONTROLS,
        &[Field::GuestDr7, Field::GuestIa32Debugctl],
    ),
    (ExitControls::SAVE_PAT, &[Field::GuestIa32Pat]),
    (ExitControls::SAVE_EFER, &[Field::GuestIa32Efer]),
    (
        ExitControls::SAVE_PERF_GLOBAL_CTRL,
        &[Field::GuestIa32PerfGlobalCtrl],
    ),
];

/// Saves the guest-state area of vmcs02 in vmcs12, as a VM exit of L2's would.
///
/// `activity` is L2's activity state as L0 holds it.
pub(in crate::l0) fn guest_state(
    capabilities: &Capabilities,
    vmcs01: &Vmcs,
    vmcs02: &Vmcs,
    activity: u32,
    vmcs12: &mut Vmcs,
) {
    let cr0 = ControlRegister::of(vmcs02, CR0)
        .unnested(ControlRegister::of(vmcs01, CR0), cr0_of_l2(vmcs01, vmcs12));
    let cr4 = ControlRegister::of(vmcs02, CR4).unnested(
        ControlRegister::of(vmcs01, CR4),
        ControlRegister::of(vmcs12, CR4),
    );
    let smi = vmcs12.guest_interruptibility_info() & interruptibility::SMI;
    let exit = vmcs12.exit();
    let secondary_exit = vmcs12.secondary_exit();
    let mut copy = |fields: &[Field]| {
        for &field in fields {
            vmcs12.write(field, vmcs02.read(field));
        }
    };
    copy(SAVED_STATE);
    for &(control, fields) in SAVED_WITH_FEATURE {
        if capabilities.entry().may_be_1(control) {
            copy(fields);
        }
    }
    for &(control, fields) in SAVED_ON_DEMAND {
        if exit.contains(control) {
            copy(fields);
        }
    }
    if secondary_exit.contains(SecondaryExitControls::SAVE_FRED) {
        copy(FRED_STATE);
    }
    vmcs12.write(Field::GuestCr0, cr0);
    vmcs12.write(Field::GuestCr4, cr4);
    vmcs12.write(Field::GuestActivityState, activity.into());
    let interruptibility = vmcs02.guest_interruptibility_info() | smi;
    vmcs12.write(Field::GuestInterruptibilityInfo, interruptibility.into());
    pdptes(cr0, cr4, vmcs02, vmcs12);
    virtual_interrupts(vmcs02, vmcs12);
    if capabilities.misc.saves_efer_lma() {
        let mut entry = vmcs12.entry();
        entry.set(
            EntryControls::IA32E_MODE_GUEST,
            vmcs02.guest_ia32_efer() & efer::LMA != 0,
        );
        vmcs12.write(Field::VmEntryControls, entry.bits().into());
    }
}

/// With EPT and PAE paging, the PDPTEs are guest state (SDM volume 3, section 29.3.4).
fn pdptes(cr0: u64, cr4: u64, vmcs02: &Vmcs, vmcs12: &mut Vmcs) {
    let paging = cr0 & cr0::PG != 0 && cr4 & cr4::PAE != 0;
    let ia32e = vmcs02.guest_ia32_efer() & efer::LMA != 0;
    if paging && !ia32e && vmcs12.secondary().contains(SecondaryControls::ENABLE_EPT) {
        for field in PDPTES {
            vmcs12.write(field, vmcs02.read(field));
        }
    }
}

/// The guest interrupt status and the TPR threshold are the processor's to change.
fn virtual_interrupts(vmcs02: &Vmcs, vmcs12: &mut Vmcs) {
    if vmcs12
        .secondary()
        .contains(SecondaryControls::VIRTUAL_INTERRUPT_DELIVERY)
    {
        vmcs12.write(Field::GuestIntrStatus, vmcs02.guest_intr_status().into());
    }
}
