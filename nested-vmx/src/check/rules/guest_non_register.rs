// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Non-register state of the guest (SDM volume 3, section 28.3.1.5).

use super::super::context::{Context, Injected};
use super::super::failure::{Allowed, Subject, Violation};
use super::values::{bits, excludes, needs};
use crate::capability::Features;
use crate::controls::{EntryControls, PinControls, SecondaryControls};
use crate::interruption::EventType;
use crate::registers::{activity, debugctl, interruptibility, pending_debug, rflags};
use crate::vmcs::Field;

/// Exit qualifications of a failed entry (SDM volume 3, section 28.8).
mod qualification {
    pub const NMI_STI: u64 = 3;
    pub const LINK_POINTER: u64 = 4;
}

/// Blocking by STI and by MOV SS.
const BY_INSTRUCTION: u32 = interruptibility::STI | interruptibility::MOV_SS;

fn state(context: &Context<'_>) -> u32 {
    context.vmcs.guest_interruptibility_info()
}

fn activity_of(context: &Context<'_>) -> u32 {
    context.vmcs.guest_activity_state()
}

fn activity_must_be(context: &Context<'_>, allowed: Allowed) -> Violation {
    Violation::field(
        Field::GuestActivityState,
        activity_of(context).into(),
        allowed,
    )
}

pub fn activity_supported(context: &Context<'_>) -> Option<Violation> {
    let supported = context
        .capabilities
        .misc
        .has_activity_state(activity_of(context));
    (!supported).then(|| activity_must_be(context, Allowed::Exactly(activity::ACTIVE.into())))
}

pub fn activity_hlt(context: &Context<'_>) -> Option<Violation> {
    const DPL: u64 = 3 << 5;
    match activity_of(context) {
        activity::HLT => excludes(context, Field::GuestSsArBytes, DPL),
        _ => None,
    }
}

pub fn activity_blocking(context: &Context<'_>) -> Option<Violation> {
    let blocked = state(context) & BY_INSTRUCTION != 0;
    (blocked && activity_of(context) != activity::ACTIVE)
        .then(|| activity_must_be(context, Allowed::Exactly(activity::ACTIVE.into())))
}

/// Whether the activity state takes the event.
fn takes(state: u32, event: Injected) -> bool {
    const DEBUG: u8 = 1;
    const MACHINE_CHECK: u8 = 18;
    match (state, event.kind) {
        (activity::HLT, EventType::ExternalInterrupt | EventType::Nmi)
        | (activity::SHUTDOWN, EventType::Nmi) => true,
        (activity::HLT, EventType::HardwareException) => {
            matches!(event.vector, DEBUG | MACHINE_CHECK)
        }
        (activity::HLT, EventType::Other) => event.vector == 0,
        (activity::SHUTDOWN, EventType::HardwareException) => event.vector == MACHINE_CHECK,
        (activity::HLT | activity::SHUTDOWN | activity::WAIT_FOR_SIPI, _) => false,
        _ => true,
    }
}

pub fn activity_injection(context: &Context<'_>) -> Option<Violation> {
    let injected = context.injected?;
    (!takes(activity_of(context), injected))
        .then(|| activity_must_be(context, Allowed::Exactly(activity::ACTIVE.into())))
}

fn enters_smm(context: &Context<'_>) -> bool {
    context.entry.contains(EntryControls::ENTRY_TO_SMM)
}

pub fn activity_smm(context: &Context<'_>) -> Option<Violation> {
    (enters_smm(context) && activity_of(context) == activity::WAIT_FOR_SIPI)
        .then(|| activity_must_be(context, Allowed::Range(0, activity::SHUTDOWN.into())))
}

pub fn reserved(context: &Context<'_>) -> Option<Violation> {
    bits(context, Field::GuestInterruptibilityInfo, 0, 0x1f)
}

/// These bits of the interruptibility state must be 0.
#[inline(always)]
fn not_blocking(context: &Context<'_>, blocking: u32) -> Option<Violation> {
    excludes(context, Field::GuestInterruptibilityInfo, blocking.into())
}

pub fn both(context: &Context<'_>) -> Option<Violation> {
    match state(context) & BY_INSTRUCTION {
        BY_INSTRUCTION => not_blocking(context, interruptibility::MOV_SS),
        _ => None,
    }
}

pub fn sti(context: &Context<'_>) -> Option<Violation> {
    match context.vmcs.guest_rflags() & rflags::IF {
        0 => not_blocking(context, interruptibility::STI),
        _ => None,
    }
}

pub fn interrupt(context: &Context<'_>) -> Option<Violation> {
    context.injects(EventType::ExternalInterrupt)?;
    not_blocking(context, BY_INSTRUCTION)
}

/// A processor may take an NMI with blocking by STI; this one does not, and says so with an exit
/// qualification of its own.
pub fn nmi(context: &Context<'_>) -> Option<Violation> {
    context.injects(EventType::Nmi)?;
    not_blocking(context, interruptibility::MOV_SS).or_else(|| {
        not_blocking(context, interruptibility::STI)
            .map(|violation| violation.with_qualification(qualification::NMI_STI))
    })
}

pub fn smi(context: &Context<'_>) -> Option<Violation> {
    let blocking = interruptibility::SMI;
    if enters_smm(context) {
        return needs(context, Field::GuestInterruptibilityInfo, blocking.into());
    }
    match context.request.l1.in_smm {
        true => None,
        false => not_blocking(context, blocking),
    }
}

pub fn virtual_nmi(context: &Context<'_>) -> Option<Violation> {
    context.injects(EventType::Nmi)?;
    match context.pin.contains(PinControls::VIRTUAL_NMIS) {
        true => not_blocking(context, interruptibility::NMI),
        false => None,
    }
}

pub fn enclave(context: &Context<'_>) -> Option<Violation> {
    if state(context) & interruptibility::ENCLAVE == 0 {
        return None;
    }
    match context.capabilities.processor.has(Features::SGX) {
        true => not_blocking(context, interruptibility::MOV_SS),
        false => not_blocking(context, interruptibility::ENCLAVE),
    }
}

/// Bit 11: a bus lock was taken, where that is reported.
const BUS_LOCK: u64 = 1 << 11;
/// Bits 3:0, 12, 14 and 16.
const PENDING_DEBUG: u64 =
    0xf | pending_debug::ENABLED_BREAKPOINT | pending_debug::BS | pending_debug::RTM;

pub fn pending_debug_reserved(context: &Context<'_>) -> Option<Violation> {
    let bus_lock = match context.capabilities.processor.has(Features::BUS_LOCK_DEBUG) {
        true => BUS_LOCK,
        false => 0,
    };
    bits(
        context,
        Field::GuestPendingDbgExceptions,
        0,
        PENDING_DEBUG | bus_lock,
    )
}

pub fn pending_debug_bs(context: &Context<'_>) -> Option<Violation> {
    let held = state(context) & BY_INSTRUCTION != 0 || activity_of(context) == activity::HLT;
    if !held {
        return None;
    }
    let traps = context.vmcs.guest_rflags() & rflags::TF != 0;
    let on_branches = context.vmcs.guest_ia32_debugctl() & debugctl::BTF != 0;
    match traps && !on_branches {
        true => needs(context, Field::GuestPendingDbgExceptions, pending_debug::BS),
        false => excludes(context, Field::GuestPendingDbgExceptions, pending_debug::BS),
    }
}

pub fn pending_debug_rtm(context: &Context<'_>) -> Option<Violation> {
    if context.vmcs.guest_pending_dbg_exceptions() & pending_debug::RTM == 0 {
        return None;
    }
    if !context.capabilities.processor.has(Features::RTM) {
        return excludes(
            context,
            Field::GuestPendingDbgExceptions,
            pending_debug::RTM,
        );
    }
    let breakpoint = pending_debug::ENABLED_BREAKPOINT;
    bits(
        context,
        Field::GuestPendingDbgExceptions,
        breakpoint,
        !0xffff | breakpoint,
    )
    .or_else(|| not_blocking(context, interruptibility::MOV_SS))
}

/// The link pointer, if there is one.
fn link(context: &Context<'_>) -> Option<u64> {
    Some(context.vmcs.vmcs_link_pointer()).filter(|&pointer| pointer != u64::MAX)
}

pub fn link_alignment(context: &Context<'_>) -> Option<Violation> {
    let pointer = link(context)?;
    let zero = context.beyond | 0xfff;
    (pointer & zero != 0).then_some(
        Violation::field(Field::VmcsLinkPointer, pointer, Allowed::AllOnesOr(zero))
            .with_qualification(qualification::LINK_POINTER),
    )
}

pub fn link_revision(context: &Context<'_>) -> Option<Violation> {
    let pointer = link(context)?;
    let memory = context.request.memory?;
    let shadowing = context.has(SecondaryControls::VMCS_SHADOWING);
    let expected = context.capabilities.basic.revision() | u32::from(shadowing) << 31;
    let violation = match memory.read_u32(pointer) {
        Ok(header) if header == expected => return None,
        Ok(header) => Violation::new(
            Subject::LinkedHeader,
            header.into(),
            Allowed::Exactly(expected.into()),
        ),
        // Where there is no memory, there is no VMCS.
        Err(_) => Violation::field(Field::VmcsLinkPointer, pointer, Allowed::Memory),
    };
    Some(violation.with_qualification(qualification::LINK_POINTER))
}

pub fn link_current(context: &Context<'_>) -> Option<Violation> {
    let pointer = link(context)?;
    // Returning from SMM, it is the VMCS that becomes the current one.
    let leaves_smm = context.request.l1.in_smm && !enters_smm(context);
    let is_current = context.request.current == Some(pointer) && !leaves_smm;
    is_current.then_some(
        Violation::field(Field::VmcsLinkPointer, pointer, Allowed::Not(pointer))
            .with_qualification(qualification::LINK_POINTER),
    )
}
