// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! vmcs02: what the processor runs L2 with.
//!
//! It begins as a copy of vmcs01, for everything by which L0 gets control back (host state, exit
//! controls, MSR areas), and takes from vmcs12 what L2 is. Addresses that L1 wrote (virtual-APIC
//! page, APIC-access page) are L1-physical in it: whoever gives it to a processor translates them.

mod bitmaps;
mod controls;
pub(crate) mod tsc;

pub use bitmaps::MsrBitmap;
pub(crate) use bitmaps::{ALL as INTERCEPT_ALL_MSRS, merge as merge_msr_bitmap};

use super::control_register::{CR0, CR4, ControlRegister};
use crate::controls::{EntryControls, SecondaryControls};
use crate::registers::{activity, cr0, efer, interruptibility};
use crate::vmcs::{Field, Vmcs};
use tsc::TscView;

/// CR0 bits that VM entries and VM exits leave as they are: ET, CD, NW, and reserved ones (SDM
/// volume 3, sections 28.3.2.1 and 29.5.1).
pub(super) const CR0_KEPT: u64 = cr0::ET | cr0::NW | cr0::CD | 0x1ffa_ffc0;

/// Guest state that L1's vmcs12 gives as it is (SDM volume 3, section 28.3.2).
const GUEST_STATE: &[Field] = &[
    Field::GuestEsSelector,
    Field::GuestCsSelector,
    Field::GuestSsSelector,
    Field::GuestDsSelector,
    Field::GuestFsSelector,
    Field::GuestGsSelector,
    Field::GuestLdtrSelector,
    Field::GuestTrSelector,
    Field::GuestEsLimit,
    Field::GuestCsLimit,
    Field::GuestSsLimit,
    Field::GuestDsLimit,
    Field::GuestFsLimit,
    Field::GuestGsLimit,
    Field::GuestLdtrLimit,
    Field::GuestTrLimit,
    Field::GuestGdtrLimit,
    Field::GuestIdtrLimit,
    Field::GuestEsArBytes,
    Field::GuestCsArBytes,
    Field::GuestSsArBytes,
    Field::GuestDsArBytes,
    Field::GuestFsArBytes,
    Field::GuestGsArBytes,
    Field::GuestLdtrArBytes,
    Field::GuestTrArBytes,
    Field::GuestEsBase,
    Field::GuestCsBase,
    Field::GuestSsBase,
    Field::GuestDsBase,
    Field::GuestFsBase,
    Field::GuestGsBase,
    Field::GuestLdtrBase,
    Field::GuestTrBase,
    Field::GuestGdtrBase,
    Field::GuestIdtrBase,
    Field::GuestSysenterCs,
    Field::GuestSysenterEsp,
    Field::GuestSysenterEip,
    Field::GuestCr3,
    Field::GuestRsp,
    Field::GuestRip,
    Field::GuestRflags,
    Field::GuestPendingDbgExceptions,
    Field::GuestInterruptibilityInfo,
    Field::GuestActivityState,
];

/// Guest state that is in vmcs12 whichever controls are set, and that a VM exit saves there (SDM
/// volume 3, section 29.3). CR0 and CR4 are not among it: see [`ControlRegister::unnested`].
pub(super) const SAVED_STATE: &[Field] = GUEST_STATE;

/// The state of control-flow enforcement.
pub(super) const CET_STATE: &[Field] =
    &[Field::GuestSCet, Field::GuestSsp, Field::GuestIntrSspTable];

/// The state of flexible return and event delivery.
pub(super) const FRED_STATE: &[Field] = &[
    Field::GuestIa32FredConfig,
    Field::GuestIa32FredRsp1,
    Field::GuestIa32FredRsp2,
    Field::GuestIa32FredRsp3,
    Field::GuestIa32FredStackLevels,
    Field::GuestIa32FredSsp1,
    Field::GuestIa32FredSsp2,
    Field::GuestIa32FredSsp3,
];

/// Guest state that a control makes VM entry load; without the control, L2 has L1's.
const LOADED_STATE: &[(EntryControls, &[Field])] = &[
    (
        EntryControls::LOAD_DEBUG_CONTROLS,
        &[Field::GuestDr7, Field::GuestIa32Debugctl],
    ),
    (
        EntryControls::LOAD_PERF_GLOBAL_CTRL,
        &[Field::GuestIa32PerfGlobalCtrl],
    ),
    (EntryControls::LOAD_PAT, &[Field::GuestIa32Pat]),
    (EntryControls::LOAD_BNDCFGS, &[Field::GuestBndcfgs]),
    (EntryControls::LOAD_RTIT_CTL, &[Field::GuestIa32RtitCtl]),
    (EntryControls::LOAD_UINV, &[Field::GuestUinv]),
    (EntryControls::LOAD_CET, CET_STATE),
    (EntryControls::LOAD_LBR_CTL, &[Field::GuestIa32LbrCtl]),
    (EntryControls::LOAD_PKRS, &[Field::GuestIa32Pkrs]),
    (EntryControls::LOAD_FRED, FRED_STATE),
    (EntryControls::LOAD_SPEC_CTRL, &[Field::GuestIa32SpecCtrl]),
];

/// Controls whose fields L0 passes on as L1 wrote them.
const PASSED_ON: &[Field] = &[
    Field::VirtualApicPageAddr,
    Field::ApicAccessAddr,
    Field::TprThreshold,
    Field::EoiExitBitmap0,
    Field::EoiExitBitmap1,
    Field::EoiExitBitmap2,
    Field::EoiExitBitmap3,
    Field::GuestIntrStatus,
    Field::PleGap,
    Field::PleWindow,
];

/// The PDPTEs, for PAE paging.
pub(super) const PDPTES: [Field; 4] = [
    Field::GuestPdptr0,
    Field::GuestPdptr1,
    Field::GuestPdptr2,
    Field::GuestPdptr3,
];

/// Builds vmcs02. `vpid` is the virtual-processor identifier that L0 gives L2.
///
/// What is injected is not in it: that is decided at each entry.
pub(super) fn build(vmcs01: &Vmcs, vmcs12: &Vmcs, vpid: u16, vmcs02: &mut Vmcs) {
    vmcs02.clone_from(vmcs01);
    controls::merge(vmcs01, vmcs12, vmcs02);
    for &field in GUEST_STATE.iter().chain(PASSED_ON) {
        vmcs02.write(field, vmcs12.read(field));
    }
    for &(control, fields) in LOADED_STATE {
        if vmcs12.entry().contains(control) {
            for &field in fields {
                vmcs02.write(field, vmcs12.read(field));
            }
        }
    }
    controls::merge_bitmaps(vmcs01, vmcs12, vmcs02);
    controls::spec_ctrl(vmcs01, vmcs12, vmcs02);
    vmcs02.write(Field::GuestIa32Efer, efer(vmcs01, vmcs12));
    control_registers(vmcs01, vmcs12, vmcs02);
    if vmcs12.secondary().contains(SecondaryControls::ENABLE_EPT) {
        for field in PDPTES {
            vmcs02.write(field, vmcs12.read(field));
        }
    }
    let tsc = TscView::of(vmcs01).nested(TscView::of(vmcs12));
    vmcs02.write(Field::TscOffset, tsc.offset);
    vmcs02.write(Field::TscMultiplier, tsc.multiplier);
    if vmcs02.secondary().contains(SecondaryControls::ENABLE_VPID) {
        vmcs02.write(Field::VirtualProcessorId, vpid.into());
    }
    vmcs02.write(Field::VmcsLinkPointer, u64::MAX);
    vmcs02.write(Field::VmEntryIntrInfoField, 0);
    // Halting is L0's: it knows what wakes L2. Shutdown and wait-for-SIPI likewise.
    vmcs02.write(Field::GuestActivityState, activity::ACTIVE.into());
    // L0 shows L2 an SMM of its own.
    let not_smi = vmcs12.guest_interruptibility_info() & !interruptibility::SMI;
    vmcs02.write(Field::GuestInterruptibilityInfo, not_smi.into());
}

/// What of L2's state stays in the processor when L2 is left: registers that no VM exit saves, and
/// that only those exit controls load or clear that L1 chose. L1 gets them as they are (SDM volume
/// 3, section 29.5.1).
pub(super) fn hand_over(vmcs02: &Vmcs, vmcs01: &mut Vmcs) {
    let loaded = LOADED_STATE.iter().flat_map(|&(_, fields)| fields);
    for &field in loaded.chain(&[Field::GuestIa32Efer]) {
        vmcs01.write(field, vmcs02.read(field));
    }
}

/// L2's IA32_EFER (SDM volume 3, section 28.3.2.1).
fn efer(vmcs01: &Vmcs, vmcs12: &Vmcs) -> u64 {
    if vmcs12.entry().contains(EntryControls::LOAD_EFER) {
        return vmcs12.guest_ia32_efer();
    }
    let l1s = vmcs01.guest_ia32_efer();
    match vmcs12.entry().contains(EntryControls::IA32E_MODE_GUEST) {
        true => l1s | efer::LMA | efer::LME,
        false if vmcs12.guest_cr0() & cr0::PG != 0 => l1s & !(efer::LMA | efer::LME),
        false => l1s & !efer::LMA,
    }
}

/// CR0 as L1 asks for it: bits that VM entries leave alone are L1's.
pub(super) fn cr0_of_l2(vmcs01: &Vmcs, vmcs12: &Vmcs) -> ControlRegister {
    let kept = ControlRegister::of(vmcs01, CR0).view() & CR0_KEPT;
    let mut cr0 = ControlRegister::of(vmcs12, CR0);
    cr0.value = cr0.value & !CR0_KEPT | kept;
    cr0
}

fn control_registers(vmcs01: &Vmcs, vmcs12: &Vmcs, vmcs02: &mut Vmcs) {
    ControlRegister::of(vmcs01, CR0)
        .nested(cr0_of_l2(vmcs01, vmcs12))
        .write(vmcs02, CR0);
    ControlRegister::of(vmcs01, CR4)
        .nested(ControlRegister::of(vmcs12, CR4))
        .write(vmcs02, CR4);
}
