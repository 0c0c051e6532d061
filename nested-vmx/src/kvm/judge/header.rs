// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What breaks each rule of [`SetRule`](super::SetRule): the value, if one does.

use super::case::Case;
use crate::kvm::state::{HEADER_SIZE, SIZE_WITH_SHADOW, SIZE_WITH_VMCS12};
use crate::kvm::{HeaderFlags, NestedState, SmmFlags, StateFlags};
use crate::vmcs::KVM_REVISION;

/// The value, where the condition holds.
fn when(condition: bool, value: impl Into<u64>) -> Option<u64> {
    condition.then(|| value.into())
}

fn any(bits: impl Into<u64>) -> Option<u64> {
    Some(bits.into()).filter(|&bits| bits != 0)
}

pub(super) fn header_readable(case: &Case<'_>) -> Option<u64> {
    when(case.available < HEADER_SIZE, case.available as u64)
}

pub(super) fn size(case: &Case<'_>) -> Option<u64> {
    when(!case.state.reaches(HEADER_SIZE), case.state.size())
}

pub(super) fn flags(case: &Case<'_>) -> Option<u64> {
    any(case.state.flags().bits() & !StateFlags::all().bits())
}

pub(super) fn run_pending(case: &Case<'_>) -> Option<u64> {
    let flags = case.state.flags();
    let alone = flags.contains(StateFlags::RUN_PENDING) && !flags.contains(StateFlags::GUEST_MODE);
    when(alone, flags.bits())
}

pub(super) fn format(case: &Case<'_>) -> Option<u64> {
    let format = case.state.format();
    when(format != NestedState::FORMAT_VMX, format)
}

pub(super) fn off_smm(case: &Case<'_>) -> Option<u64> {
    any(case.state.smm_flags().bits()).filter(|_| case.is_off())
}

pub(super) fn off_current(case: &Case<'_>) -> Option<u64> {
    case.state.current().filter(|_| case.is_off())
}

pub(super) fn off_flags(case: &Case<'_>) -> Option<u64> {
    any(case.state.flags().bits() & !StateFlags::EVMCS.bits()).filter(|_| case.is_off())
}

pub(super) fn vmx_in_cpuid(case: &Case<'_>) -> Option<u64> {
    case.state.vmxon().filter(|_| !case.context.vmx_in_cpuid)
}

pub(super) fn vmxon_address(case: &Case<'_>) -> Option<u64> {
    case.state.vmxon().filter(|&address| !case.is_page(address))
}

pub(super) fn smm_guest_mode(case: &Case<'_>) -> Option<u64> {
    let interrupted = case.state.smm_flags().contains(SmmFlags::GUEST_MODE);
    when(
        interrupted && case.state.is_in_guest_mode(),
        case.state.smm_flags().bits(),
    )
}

pub(super) fn smm_flags(case: &Case<'_>) -> Option<u64> {
    any(case.state.smm_flags().bits() & !SmmFlags::all().bits())
}

pub(super) fn header_flags(case: &Case<'_>) -> Option<u64> {
    any(case.state.header_flags().bits() & !HeaderFlags::all().bits())
}

pub(super) fn in_smm(case: &Case<'_>) -> Option<u64> {
    let active = StateFlags::GUEST_MODE | StateFlags::RUN_PENDING;
    let flags = case.state.flags();
    when(
        case.context.in_smm && flags.intersects(active),
        flags.bits(),
    )
}

pub(super) fn outside_smm(case: &Case<'_>) -> Option<u64> {
    any(case.state.smm_flags().bits()).filter(|_| !case.context.in_smm)
}

pub(super) fn smm_vmxon(case: &Case<'_>) -> Option<u64> {
    let flags = case.state.smm_flags();
    let lacks = flags.contains(SmmFlags::GUEST_MODE) && !flags.contains(SmmFlags::VMXON);
    when(lacks, flags.bits())
}

pub(super) fn evmcs(case: &Case<'_>) -> Option<u64> {
    let flags = case.state.flags();
    let works = case.context.vmx_in_cpuid && case.context.enlightened_vmcs;
    when(flags.contains(StateFlags::EVMCS) && !works, flags.bits())
}

/// In VMX operation, without vmcs12.
fn is_short(case: &Case<'_>) -> bool {
    !case.is_off() && case.is_short()
}

pub(super) fn short_guest_mode(case: &Case<'_>) -> Option<u64> {
    let active = case.state.is_in_guest_mode();
    when(is_short(case) && active, case.state.size())
}

pub(super) fn short_evmcs(case: &Case<'_>) -> Option<u64> {
    let enlightened = case.state.flags().contains(StateFlags::EVMCS);
    when(is_short(case) && enlightened, case.state.size())
}

pub(super) fn short_current(case: &Case<'_>) -> Option<u64> {
    case.state.current().filter(|_| is_short(case))
}

/// The current VMCS of a state that has vmcs12.
fn current(case: &Case<'_>) -> Option<u64> {
    let looks = !case.is_off() && !case.is_short();
    case.state.current().filter(|_| looks)
}

pub(super) fn same_region(case: &Case<'_>) -> Option<u64> {
    current(case).filter(|&address| case.state.vmxon() == Some(address))
}

pub(super) fn current_address(case: &Case<'_>) -> Option<u64> {
    current(case).filter(|&address| !case.is_page(address))
}

pub(super) fn no_current(case: &Case<'_>) -> Option<u64> {
    let looks = !case.is_off() && !case.is_short();
    let has = case.state.current().is_some() || case.state.flags().contains(StateFlags::EVMCS);
    when(looks && !has, NestedState::NO_ADDRESS)
}

pub(super) fn vmcs12_readable(case: &Case<'_>) -> Option<u64> {
    let reads = !case.is_off() && !case.is_short();
    when(
        reads && case.available < SIZE_WITH_VMCS12,
        case.available as u64,
    )
}

pub(super) fn revision(case: &Case<'_>) -> Option<u64> {
    let revision = case.vmcs12()?.revision();
    when(revision != KVM_REVISION, revision)
}

pub(super) fn shadow_size(case: &Case<'_>) -> Option<u64> {
    let has = case.state.reaches(SIZE_WITH_SHADOW);
    when(case.needs_shadow() && !has, case.state.size())
}

pub(super) fn shadow_readable(case: &Case<'_>) -> Option<u64> {
    let reads = case.needs_shadow() && case.state.reaches(SIZE_WITH_SHADOW);
    when(
        reads && case.available < SIZE_WITH_SHADOW,
        case.available as u64,
    )
}

pub(super) fn shadow_header(case: &Case<'_>) -> Option<u64> {
    let has_all = case.needs_shadow() && case.available >= SIZE_WITH_SHADOW;
    let shadow = case.state.shadow_vmcs12().filter(|_| has_all)?;
    let is_right = shadow.revision() == KVM_REVISION && shadow.is_shadow();
    let header = shadow.revision() | u32::from(shadow.is_shadow()) << 31;
    when(!is_right, header)
}
