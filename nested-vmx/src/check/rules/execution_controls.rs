// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! VM-execution controls (SDM volume 3, section 28.2.1.1).

use super::super::context::Context;
use super::super::failure::{Allowed, Violation};
use super::values::{address, bits, excludes, needs, page};
use crate::capability::{Capabilities, EptVpid};
use crate::controls::{
    EntryControls, ExitControls, PinControls, PrimaryControls, SecondaryControls, TertiaryControls,
};
use crate::vmcs::Field;

/// Bits of a control field, zero-extended.
macro_rules! value {
    ($controls:expr) => {
        u64::from($controls.bits())
    };
}

pub fn pin_allowed(context: &Context<'_>) -> Option<Violation> {
    let range = context.capabilities.pin();
    bits(
        context,
        Field::PinBasedVmExecControl,
        range.must_be_1(),
        range.allowed_1(),
    )
}

pub fn primary_allowed(context: &Context<'_>) -> Option<Violation> {
    let range = context.capabilities.primary();
    bits(
        context,
        Field::CpuBasedVmExecControl,
        range.must_be_1(),
        range.allowed_1(),
    )
}

pub fn secondary_allowed(context: &Context<'_>) -> Option<Violation> {
    if !context
        .primary
        .contains(PrimaryControls::ACTIVATE_SECONDARY_CONTROLS)
    {
        return None;
    }
    let range = context.capabilities.secondary();
    bits(
        context,
        Field::SecondaryVmExecControl,
        range.must_be_1(),
        range.allowed_1(),
    )
}

pub fn tertiary_allowed(context: &Context<'_>) -> Option<Violation> {
    if !context
        .primary
        .contains(PrimaryControls::ACTIVATE_TERTIARY_CONTROLS)
    {
        return None;
    }
    let range = context.capabilities.tertiary();
    bits(
        context,
        Field::TertiaryVmExecControl,
        range.must_be_1(),
        range.allowed_1(),
    )
}

pub fn cr3_targets(context: &Context<'_>) -> Option<Violation> {
    let count = context.vmcs.cr3_target_count();
    let most = context.capabilities.misc.cr3_targets();
    (count > most).then_some(Violation::field(
        Field::Cr3TargetCount,
        count.into(),
        Allowed::Range(0, most.into()),
    ))
}

pub fn io_bitmaps(context: &Context<'_>) -> Option<Violation> {
    if !context.primary.contains(PrimaryControls::USE_IO_BITMAPS) {
        return None;
    }
    page(context, Field::IoBitmapA).or_else(|| page(context, Field::IoBitmapB))
}

pub fn msr_bitmap(context: &Context<'_>) -> Option<Violation> {
    if !context.primary.contains(PrimaryControls::USE_MSR_BITMAPS) {
        return None;
    }
    page(context, Field::MsrBitmap)
}

fn tpr_shadow(context: &Context<'_>) -> bool {
    context.primary.contains(PrimaryControls::USE_TPR_SHADOW)
}

pub fn virtual_apic_page(context: &Context<'_>) -> Option<Violation> {
    match tpr_shadow(context) {
        true => page(context, Field::VirtualApicPageAddr),
        false => None,
    }
}

pub fn tpr_threshold_reserved(context: &Context<'_>) -> Option<Violation> {
    if !tpr_shadow(context) || context.has(SecondaryControls::VIRTUAL_INTERRUPT_DELIVERY) {
        return None;
    }
    bits(context, Field::TprThreshold, 0, 0xf)
}

pub fn tpr_threshold_vtpr(context: &Context<'_>) -> Option<Violation> {
    const VTPR: u64 = 0x80;
    let other =
        SecondaryControls::VIRTUALIZE_APIC_ACCESSES | SecondaryControls::VIRTUAL_INTERRUPT_DELIVERY;
    if !tpr_shadow(context) || context.secondary.intersects(other) {
        return None;
    }
    let memory = context.request.memory?;
    // An address that is not good breaks another rule; one that is not memory reads as 0.
    let at = context.vmcs.virtual_apic_page_addr().checked_add(VTPR)?;
    let mut vtpr = [0; 1];
    let _ = memory.read(at, &mut vtpr);
    let threshold = context.vmcs.tpr_threshold() & 0xf;
    let most = u32::from(vtpr[0] >> 4);
    (threshold > most).then_some(Violation::field(
        Field::TprThreshold,
        context.vmcs.tpr_threshold().into(),
        Allowed::Range(0, most.into()),
    ))
}

pub fn apic_needs_tpr_shadow(context: &Context<'_>) -> Option<Violation> {
    if tpr_shadow(context) {
        return None;
    }
    let dependent = SecondaryControls::VIRTUALIZE_X2APIC_MODE
        | SecondaryControls::APIC_REGISTER_VIRTUALIZATION
        | SecondaryControls::VIRTUAL_INTERRUPT_DELIVERY;
    let ipis = TertiaryControls::IPI_VIRTUALIZATION;
    secondary_excludes(context, dependent).or_else(|| match context.tertiary.contains(ipis) {
        true => excludes(context, Field::TertiaryVmExecControl, ipis.bits()),
        false => None,
    })
}

/// These secondary controls must be 0.
#[inline(always)]
fn secondary_excludes(context: &Context<'_>, excluded: SecondaryControls) -> Option<Violation> {
    match context.secondary.intersects(excluded) {
        true => excludes(context, Field::SecondaryVmExecControl, value!(excluded)),
        false => None,
    }
}

/// This secondary control needs that one.
#[inline(always)]
fn secondary_needs(
    context: &Context<'_>,
    control: SecondaryControls,
    needed: SecondaryControls,
) -> Option<Violation> {
    match context.has(control) && !context.has(needed) {
        true => needs(context, Field::SecondaryVmExecControl, value!(needed)),
        false => None,
    }
}

pub fn virtual_nmis(context: &Context<'_>) -> Option<Violation> {
    if context.pin.contains(PinControls::NMI_EXITING) {
        return None;
    }
    excludes(
        context,
        Field::PinBasedVmExecControl,
        value!(PinControls::VIRTUAL_NMIS),
    )
}

pub fn nmi_window(context: &Context<'_>) -> Option<Violation> {
    if context.pin.contains(PinControls::VIRTUAL_NMIS) {
        return None;
    }
    excludes(
        context,
        Field::CpuBasedVmExecControl,
        value!(PrimaryControls::NMI_WINDOW_EXITING),
    )
}

pub fn apic_access(context: &Context<'_>) -> Option<Violation> {
    match context.has(SecondaryControls::VIRTUALIZE_APIC_ACCESSES) {
        true => page(context, Field::ApicAccessAddr),
        false => None,
    }
}

pub fn x2apic_excludes_apic_access(context: &Context<'_>) -> Option<Violation> {
    match context.has(SecondaryControls::VIRTUALIZE_X2APIC_MODE) {
        true => secondary_excludes(context, SecondaryControls::VIRTUALIZE_APIC_ACCESSES),
        false => None,
    }
}

pub fn virtual_interrupt_delivery(context: &Context<'_>) -> Option<Violation> {
    match context.has(SecondaryControls::VIRTUAL_INTERRUPT_DELIVERY) {
        true => needs(
            context,
            Field::PinBasedVmExecControl,
            value!(PinControls::EXTERNAL_INTERRUPT_EXITING),
        ),
        false => None,
    }
}

fn posted(context: &Context<'_>) -> bool {
    context.pin.contains(PinControls::PROCESS_POSTED_INTERRUPTS)
}

pub fn posted_need_delivery(context: &Context<'_>) -> Option<Violation> {
    match posted(context) {
        true => also_needs(context, SecondaryControls::VIRTUAL_INTERRUPT_DELIVERY),
        false => None,
    }
}

pub fn posted_need_acknowledge(context: &Context<'_>) -> Option<Violation> {
    match posted(context) {
        true => needs(
            context,
            Field::VmExitControls,
            value!(ExitControls::ACKNOWLEDGE_INTERRUPT_ON_EXIT),
        ),
        false => None,
    }
}

pub fn posted_vector(context: &Context<'_>) -> Option<Violation> {
    match posted(context) {
        true => bits(context, Field::PostedIntrNv, 0, 0xff),
        false => None,
    }
}

pub fn posted_descriptor(context: &Context<'_>) -> Option<Violation> {
    match posted(context) {
        true => address(context, Field::PostedIntrDescAddr, 64),
        false => None,
    }
}

pub fn vpid(context: &Context<'_>) -> Option<Violation> {
    let is_bad =
        context.has(SecondaryControls::ENABLE_VPID) && context.vmcs.virtual_processor_id() == 0;
    is_bad.then_some(Violation::field(
        Field::VirtualProcessorId,
        0,
        Allowed::Range(1, 0xffff),
    ))
}

/// The parts of an EPT pointer (SDM volume 3, table 26-9).
mod eptp {
    pub const MEMORY_TYPE: u64 = 7;
    pub const WALK: u64 = 7 << 3;
    pub const ACCESSED_DIRTY: u64 = 1 << 6;
    pub const SUPERVISOR_SHADOW_STACK: u64 = 1 << 7;
    pub const RESERVED: u64 = 0x1f << 7;
}

/// An EPT pointer's part must be one of two values, each where a capability is there.
fn eptp_part(
    eptp: u64,
    mask: u64,
    capabilities: &Capabilities,
    choices: [(u64, EptVpid); 2],
) -> Option<(u64, u64)> {
    let part = eptp & mask;
    let supported = |capability| capabilities.ept_vpid.contains(capability);
    let is_good = choices
        .iter()
        .any(|&(value, capability)| part == value && supported(capability));
    if is_good {
        return None;
    }
    let good = choices
        .iter()
        .find(|&&(_, capability)| supported(capability))
        .map_or(0, |&(value, _)| value);
    // What must be 1 of the part, and what may be.
    Some((good, !mask | good))
}

const MEMORY_TYPES: [(u64, EptVpid); 2] = [(6, EptVpid::WB), (0, EptVpid::UC)];
const WALKS: [(u64, EptVpid); 2] = [(3 << 3, EptVpid::WALK_4), (4 << 3, EptVpid::WALK_5)];

fn eptp_reserved_bits(capabilities: &Capabilities) -> u64 {
    let supervisor_shadow_stack = match capabilities
        .ept_vpid
        .contains(EptVpid::SUPERVISOR_SHADOW_STACK)
    {
        true => eptp::SUPERVISOR_SHADOW_STACK,
        false => 0,
    };
    eptp::RESERVED & !supervisor_shadow_stack | capabilities.processor.beyond_physical()
}

fn eptp_bits(context: &Context<'_>, mask: u64, choices: [(u64, EptVpid); 2]) -> Option<Violation> {
    if !context.has(SecondaryControls::ENABLE_EPT) {
        return None;
    }
    let value = context.vmcs.ept_pointer();
    eptp_part(value, mask, context.capabilities, choices).map(|(must_be_1, may_be_1)| {
        Violation::field(
            Field::EptPointer,
            value,
            Allowed::Bits {
                must_be_1,
                may_be_1,
            },
        )
    })
}

pub fn eptp_memory_type(context: &Context<'_>) -> Option<Violation> {
    eptp_bits(context, eptp::MEMORY_TYPE, MEMORY_TYPES)
}

pub fn eptp_walk(context: &Context<'_>) -> Option<Violation> {
    eptp_bits(context, eptp::WALK, WALKS)
}

pub fn eptp_accessed_dirty(context: &Context<'_>) -> Option<Violation> {
    let supported = context
        .capabilities
        .ept_vpid
        .contains(EptVpid::ACCESSED_DIRTY);
    match context.has(SecondaryControls::ENABLE_EPT) && !supported {
        true => bits(context, Field::EptPointer, 0, !eptp::ACCESSED_DIRTY),
        false => None,
    }
}

pub fn eptp_reserved(context: &Context<'_>) -> Option<Violation> {
    match context.has(SecondaryControls::ENABLE_EPT) {
        true => bits(
            context,
            Field::EptPointer,
            0,
            !eptp_reserved_bits(context.capabilities),
        ),
        false => None,
    }
}

fn needs_ept(context: &Context<'_>, control: SecondaryControls) -> Option<Violation> {
    secondary_needs(context, control, SecondaryControls::ENABLE_EPT)
}

/// A control that needs EPT and a page.
#[inline(always)]
fn needs_ept_and_page(
    context: &Context<'_>,
    control: SecondaryControls,
    field: Field,
) -> Option<Violation> {
    if !context.has(control) {
        return None;
    }
    needs_ept(context, control).or_else(|| page(context, field))
}

pub fn pml(context: &Context<'_>) -> Option<Violation> {
    needs_ept_and_page(context, SecondaryControls::ENABLE_PML, Field::PmlAddress)
}

pub fn unrestricted_guest(context: &Context<'_>) -> Option<Violation> {
    needs_ept(context, SecondaryControls::UNRESTRICTED_GUEST)
}

pub fn mode_based_execute(context: &Context<'_>) -> Option<Violation> {
    needs_ept(context, SecondaryControls::MODE_BASED_EXECUTE_CONTROL)
}

pub fn sub_page(context: &Context<'_>) -> Option<Violation> {
    needs_ept_and_page(
        context,
        SecondaryControls::SUB_PAGE_WRITE_PERMISSIONS,
        Field::Spptp,
    )
}

pub fn vm_functions(context: &Context<'_>) -> Option<Violation> {
    match context.has(SecondaryControls::ENABLE_VM_FUNCTIONS) {
        true => bits(
            context,
            Field::VmFunctionControl,
            0,
            context.capabilities.vm_functions,
        ),
        false => None,
    }
}

pub fn eptp_switching(context: &Context<'_>) -> Option<Violation> {
    let switches = context.has(SecondaryControls::ENABLE_VM_FUNCTIONS)
        && context.vmcs.vm_function_control() & 1 != 0;
    if !switches {
        return None;
    }
    needs_ept(context, SecondaryControls::ENABLE_VM_FUNCTIONS)
        .or_else(|| page(context, Field::EptpListAddress))
}

pub fn shadow_bitmaps(context: &Context<'_>) -> Option<Violation> {
    if !context.has(SecondaryControls::VMCS_SHADOWING) {
        return None;
    }
    page(context, Field::VmreadBitmap).or_else(|| page(context, Field::VmwriteBitmap))
}

pub fn ve_information(context: &Context<'_>) -> Option<Violation> {
    match context.has(SecondaryControls::EPT_VIOLATION_VE) {
        true => page(context, Field::VeInformationAddress),
        false => None,
    }
}

pub fn tsc_multiplier(context: &Context<'_>) -> Option<Violation> {
    let is_bad = context.has(SecondaryControls::TSC_SCALING) && context.vmcs.tsc_multiplier() == 0;
    is_bad.then_some(Violation::field(
        Field::TscMultiplier,
        0,
        Allowed::Range(1, u64::MAX),
    ))
}

pub fn pt_guest_physical(context: &Context<'_>) -> Option<Violation> {
    let control = SecondaryControls::PT_USES_GUEST_PHYSICAL_ADDRESSES;
    if !context.has(control) {
        return None;
    }
    needs_ept(context, control)
        .or_else(|| {
            needs(
                context,
                Field::VmEntryControls,
                value!(EntryControls::LOAD_RTIT_CTL),
            )
        })
        .or_else(|| {
            needs(
                context,
                Field::VmExitControls,
                value!(ExitControls::CLEAR_RTIT_CTL),
            )
        })
}

/// A control of another group needs a secondary one, and that secondary ones are active at all.
fn also_needs(context: &Context<'_>, needed: SecondaryControls) -> Option<Violation> {
    if context.has(needed) {
        return None;
    }
    let activate = PrimaryControls::ACTIVATE_SECONDARY_CONTROLS;
    needs(context, Field::CpuBasedVmExecControl, value!(activate))
        .or_else(|| needs(context, Field::SecondaryVmExecControl, value!(needed)))
}

pub fn hlat(context: &Context<'_>) -> Option<Violation> {
    if !context.tertiary.contains(TertiaryControls::ENABLE_HLAT) {
        return None;
    }
    // Bits 2:0 and 11:5 of the pointer are reserved, and the prefix size is below 52.
    let zero = 7 | 0x7f << 5 | context.beyond;
    also_needs(context, SecondaryControls::ENABLE_EPT)
        .or_else(|| bits(context, Field::HlatPointer, 0, !zero))
        .or_else(|| {
            let size = u64::from(context.vmcs.hlat_prefix_size());
            (size > 52).then_some(Violation::field(
                Field::HlatPrefixSize,
                size,
                Allowed::Range(0, 52),
            ))
        })
}

pub fn paging_verification(context: &Context<'_>) -> Option<Violation> {
    let controls =
        TertiaryControls::EPT_PAGING_WRITE_CONTROL | TertiaryControls::GUEST_PAGING_VERIFICATION;
    match context.tertiary.intersects(controls) {
        true => also_needs(context, SecondaryControls::ENABLE_EPT),
        false => None,
    }
}

/// The table's entries are pointers.
pub fn ipi_virtualization(context: &Context<'_>) -> Option<Violation> {
    const ENTRY: u64 = 8;
    if !context
        .tertiary
        .contains(TertiaryControls::IPI_VIRTUALIZATION)
    {
        return None;
    }
    address(context, Field::PidPointerTable, ENTRY).or_else(|| {
        let after_table = (!context.beyond).saturating_sub(context.vmcs.pid_pointer_table());
        let last = u64::from(context.vmcs.last_pid_pointer_index());
        let most = after_table / ENTRY;
        (last > most).then_some(Violation::field(
            Field::LastPidPointerIndex,
            last,
            Allowed::Range(0, most),
        ))
    })
}

pub fn timer_virtualization(context: &Context<'_>) -> Option<Violation> {
    if !context
        .tertiary
        .contains(TertiaryControls::APIC_TIMER_VIRTUALIZATION)
    {
        return None;
    }
    also_needs(context, SecondaryControls::VIRTUAL_INTERRUPT_DELIVERY)
        .or_else(|| bits(context, Field::VirtualTimerVector, 0, 0xff))
}
