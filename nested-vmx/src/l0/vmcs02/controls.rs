// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The controls that L2 runs with: what L0 needs for any guest of its own, and what L1 asks for.

use crate::controls::{
    EntryControls, PinControls, PrimaryControls, SecondaryControls, TertiaryControls,
};
use crate::vmcs::{Field, Vmcs};

/// L1's pin-based controls that L0 carries out itself, not the processor: it knows when L1's timer
/// is due, and L1's posted interrupts come with its own notification.
const PIN_BY_L0: PinControls =
    PinControls::PREEMPTION_TIMER.union(PinControls::PROCESS_POSTED_INTERRUPTS);

/// Controls of L0's that are about the state of L1: windows, and the TPR of L1's APIC.
const PRIMARY_FOR_L1: PrimaryControls = PrimaryControls::INTERRUPT_WINDOW_EXITING
    .union(PrimaryControls::NMI_WINDOW_EXITING)
    .union(PrimaryControls::USE_TPR_SHADOW)
    .union(PrimaryControls::MONITOR_TRAP_FLAG);

/// Controls of L0's that turn features on for L1, each of which L1 decides about for L2.
const SECONDARY_FOR_L1: SecondaryControls = SecondaryControls::VIRTUALIZE_APIC_ACCESSES
    .union(SecondaryControls::VIRTUALIZE_X2APIC_MODE)
    .union(SecondaryControls::APIC_REGISTER_VIRTUALIZATION)
    .union(SecondaryControls::VIRTUAL_INTERRUPT_DELIVERY)
    .union(SecondaryControls::ENABLE_RDTSCP)
    .union(SecondaryControls::ENABLE_INVPCID)
    .union(SecondaryControls::ENABLE_XSAVES)
    .union(SecondaryControls::ENABLE_PCONFIG)
    .union(SecondaryControls::ENABLE_USER_WAIT_AND_PAUSE)
    .union(SecondaryControls::ENABLE_VM_FUNCTIONS)
    .union(SecondaryControls::VMCS_SHADOWING)
    // It would log L2's guest-physical addresses as if they were L1's.
    .union(SecondaryControls::ENABLE_PML);

/// Controls of L0's that are about L1 as well: its IPIs and its timer, and its page tables. IPI
/// virtualization also needs a TPR shadow, which L2 may not have.
const TERTIARY_FOR_L1: TertiaryControls = TertiaryControls::ENABLE_HLAT
    .union(TertiaryControls::GUEST_PAGING_VERIFICATION)
    .union(TertiaryControls::IPI_VIRTUALIZATION)
    .union(TertiaryControls::APIC_TIMER_VIRTUALIZATION);

/// L1's secondary controls that L0 carries out itself: they name structures in L1's physical
/// memory that the processor must not walk, or work on EPT12, which the processor never sees.
const SECONDARY_BY_L0: SecondaryControls = SecondaryControls::ENABLE_EPT
    .union(SecondaryControls::ENABLE_VPID)
    .union(SecondaryControls::ENABLE_PML)
    .union(SecondaryControls::EPT_VIOLATION_VE)
    .union(SecondaryControls::SUB_PAGE_WRITE_PERMISSIONS)
    .union(SecondaryControls::MODE_BASED_EXECUTE_CONTROL)
    .union(SecondaryControls::VMCS_SHADOWING);

/// L1's tertiary controls that L0 carries out itself, for the same reason.
const TERTIARY_BY_L0: TertiaryControls = TertiaryControls::ENABLE_HLAT
    .union(TertiaryControls::EPT_PAGING_WRITE_CONTROL)
    .union(TertiaryControls::GUEST_PAGING_VERIFICATION)
    .union(TertiaryControls::IPI_VIRTUALIZATION)
    .union(TertiaryControls::APIC_TIMER_VIRTUALIZATION);

/// Writes the controls of vmcs02, which holds vmcs01's until then.
pub(super) fn merge(vmcs01: &Vmcs, vmcs12: &Vmcs, vmcs02: &mut Vmcs) {
    let timer = vmcs12.pin() & PinControls::PREEMPTION_TIMER;
    let pin = (vmcs01.pin() - PinControls::PROCESS_POSTED_INTERRUPTS)
        | (vmcs12.pin() - PIN_BY_L0)
        | timer;

    let secondary =
        (vmcs01.secondary() - SECONDARY_FOR_L1) | (vmcs12.secondary() - SECONDARY_BY_L0);
    let tertiary = (vmcs01.tertiary() - TERTIARY_FOR_L1) | (vmcs12.tertiary() - TERTIARY_BY_L0);

    let mut primary = (vmcs01.primary() - PRIMARY_FOR_L1) | vmcs12.primary();
    // L1's I/O bitmaps are in its own memory: L0 looks into them when an access exits.
    primary.remove(PrimaryControls::USE_IO_BITMAPS);
    primary.insert(PrimaryControls::UNCONDITIONAL_IO_EXITING);
    // L2's MSR bitmap is the merged one.
    primary.set(
        PrimaryControls::USE_MSR_BITMAPS,
        vmcs01.primary().contains(PrimaryControls::USE_MSR_BITMAPS),
    );
    if !vmcs12.primary().contains(PrimaryControls::USE_TPR_SHADOW) {
        // CR8 is then L1's TPR, which only L0 knows.
        primary.insert(PrimaryControls::CR8_LOAD_EXITING | PrimaryControls::CR8_STORE_EXITING);
    }
    primary.set(
        PrimaryControls::ACTIVATE_SECONDARY_CONTROLS,
        !secondary.is_empty(),
    );
    primary.set(
        PrimaryControls::ACTIVATE_TERTIARY_CONTROLS,
        !tertiary.is_empty(),
    );

    let not_l2s = EntryControls::IA32E_MODE_GUEST;
    let by_l0 = EntryControls::ENTRY_TO_SMM | EntryControls::DEACTIVATE_DUAL_MONITOR;
    let entry = (vmcs01.entry() - not_l2s) | (vmcs12.entry() - by_l0);

    vmcs02.write(Field::PinBasedVmExecControl, pin.bits().into());
    vmcs02.write(Field::CpuBasedVmExecControl, primary.bits().into());
    vmcs02.write(Field::SecondaryVmExecControl, secondary.bits().into());
    vmcs02.write(Field::TertiaryVmExecControl, tertiary.bits());
    vmcs02.write(Field::VmEntryControls, entry.bits().into());
    // VMFUNC exits, and L0 does what L1's VM-function controls allow.
    vmcs02.write(Field::VmFunctionControl, 0);
    // A MOV to CR3 exits; L1's target values decide then.
    vmcs02.write(Field::Cr3TargetCount, 0);
    exceptions(vmcs01, vmcs12, vmcs02);
}

/// The exception bitmap with the page-fault filter (SDM volume 3, sections 26.6.3 and 27.2).
fn exceptions(vmcs01: &Vmcs, vmcs12: &Vmcs, vmcs02: &mut Vmcs) {
    const PAGE_FAULT: u32 = 1 << 14;
    let bitmap = vmcs01.exception_bitmap() | vmcs12.exception_bitmap();
    vmcs02.write(Field::ExceptionBitmap, bitmap.into());
    // If L0 wants page faults, it wants those too that L1's filter lets through.
    let (mask, matched) = match vmcs01.exception_bitmap() & PAGE_FAULT {
        0 => (
            vmcs12.page_fault_error_code_mask(),
            vmcs12.page_fault_error_code_match(),
        ),
        _ => (0, 0),
    };
    vmcs02.write(Field::PageFaultErrorCodeMask, mask.into());
    vmcs02.write(Field::PageFaultErrorCodeMatch, matched.into());
}

/// Exiting bitmaps, each with the control that makes it count.
const BITMAPS: [(SecondaryControls, Field); 4] = [
    (SecondaryControls::ENABLE_XSAVES, Field::XssExitBitmap),
    (SecondaryControls::ENCLS_EXITING, Field::EnclsExitingBitmap),
    (SecondaryControls::ENCLV_EXITING, Field::EnclvExitingBitmap),
    (
        SecondaryControls::ENABLE_PCONFIG,
        Field::PconfigExitingBitmap,
    ),
];

/// The exiting bitmaps: what L0 or L1 wants to see.
pub(super) fn merge_bitmaps(vmcs01: &Vmcs, vmcs12: &Vmcs, vmcs02: &mut Vmcs) {
    for (control, field) in BITMAPS {
        let of = |vmcs: &Vmcs| match vmcs.secondary().contains(control) {
            true => vmcs.read(field),
            false => 0,
        };
        vmcs02.write(field, of(vmcs01) | of(vmcs12));
    }
}

/// The mask and the shadow of IA32_SPEC_CTRL: bits are kept from L2 that either hypervisor keeps,
/// and L2 reads L1's as L1 says.
pub(super) fn spec_ctrl(vmcs01: &Vmcs, vmcs12: &Vmcs, vmcs02: &mut Vmcs) {
    let of = |vmcs: &Vmcs| match vmcs
        .tertiary()
        .contains(TertiaryControls::VIRTUALIZE_SPEC_CTRL)
    {
        true => (vmcs.ia32_spec_ctrl_mask(), vmcs.ia32_spec_ctrl_shadow()),
        false => (0, 0),
    };
    let ((outer, outer_shadow), (inner, inner_shadow)) = (of(vmcs01), of(vmcs12));
    vmcs02.write(Field::Ia32SpecCtrlMask, outer | inner);
    let shadow = inner_shadow & inner | outer_shadow & !inner;
    vmcs02.write(Field::Ia32SpecCtrlShadow, shadow);
}
