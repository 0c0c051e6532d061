// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The event that VM entry injects (SDM volume 3, section 28.2.1.3).

use super::super::context::{Context, Injected};
use super::super::failure::{Allowed, Violation};
use super::values::bits;
use crate::capability::Features;
use crate::controls::PrimaryControls;
use crate::interruption::EventType;
use crate::vmcs::Field;

/// Bits of the VM-entry interruption information.
const VECTOR: u64 = 0xff;
const TYPE: u64 = 7 << 8;
const ERROR_CODE: u64 = 1 << 11;
/// A nested exception, on processors that tell them apart (FRED).
const NESTED: u64 = 1 << 13;
const RESERVED: u64 = 0x7fff_f000;

fn information(injected: Injected, allowed: Allowed) -> Violation {
    Violation::field(
        Field::VmEntryIntrInfoField,
        injected.information.into(),
        allowed,
    )
}

/// These bits of the field must have this value.
fn part(injected: Injected, mask: u64, value: u64) -> Violation {
    information(
        injected,
        Allowed::Bits {
            must_be_1: value,
            may_be_1: !mask | value,
        },
    )
}

pub fn kind(context: &Context<'_>) -> Option<Violation> {
    context
        .injects(EventType::Reserved)
        .map(|injected| part(injected, TYPE, 0))
}

/// Whether it is SYSCALL or SYSENTER, which are events of this type with FRED.
fn is_system_call(context: &Context<'_>, injected: &Injected) -> bool {
    const SYSCALL: u8 = 1;
    const SYSENTER: u8 = 2;
    injected.kind == EventType::Other
        && matches!(injected.vector, SYSCALL | SYSENTER)
        && context.fred_guest()
}

pub fn other(context: &Context<'_>) -> Option<Violation> {
    let supported = context
        .capabilities
        .primary()
        .may_be_1(PrimaryControls::MONITOR_TRAP_FLAG);
    context
        .injects(EventType::Other)
        .filter(|injected| !supported && !is_system_call(context, injected))
        .map(|injected| part(injected, TYPE, 0))
}

pub fn nmi_vector(context: &Context<'_>) -> Option<Violation> {
    context
        .injects(EventType::Nmi)
        .filter(|injected| injected.vector != 2)
        .map(|injected| part(injected, VECTOR, 2))
}

pub fn exception_vector(context: &Context<'_>) -> Option<Violation> {
    context
        .injects(EventType::HardwareException)
        .filter(|injected| injected.vector > 31)
        .map(|injected| {
            information(
                injected,
                Allowed::Bits {
                    must_be_1: 0,
                    may_be_1: !0xe0,
                },
            )
        })
}

pub fn other_vector(context: &Context<'_>) -> Option<Violation> {
    context
        .injects(EventType::Other)
        .filter(|injected| injected.vector != 0 && !is_system_call(context, injected))
        .map(|injected| part(injected, VECTOR, 0))
}

/// Whether exceptions of the guest push error codes: not in real mode, which only an unrestricted
/// guest can be in.
fn pushes_error_codes(context: &Context<'_>) -> bool {
    !context.unrestricted() || context.protected_mode()
}

pub fn error_code_mode(context: &Context<'_>) -> Option<Violation> {
    let injected = context.injected?;
    let may = injected.kind == EventType::HardwareException && pushes_error_codes(context);
    (injected.has_error_code && !may).then(|| part(injected, ERROR_CODE, 0))
}

pub fn error_code_vector(context: &Context<'_>) -> Option<Violation> {
    let injected = context.injects(EventType::HardwareException)?;
    if !pushes_error_codes(context) || context.capabilities.basic.has_free_error_code() {
        return None;
    }
    let control_protection = context
        .capabilities
        .processor
        .has(Features::CET_SS.union(Features::CET_IBT));
    let needed = match injected.vector {
        8 | 10..=14 | 17 => true,
        21 => control_protection,
        _ => false,
    };
    (injected.has_error_code != needed).then(|| {
        let value = if needed { ERROR_CODE } else { 0 };
        part(injected, ERROR_CODE, value)
    })
}

pub fn reserved(context: &Context<'_>) -> Option<Violation> {
    let injected = context.injected?;
    let can_be_nested = injected.kind == EventType::HardwareException
        && context.capabilities.basic.has_nested_exception();
    let nested = if can_be_nested { NESTED } else { 0 };
    let reserved = RESERVED & !nested;
    (u64::from(injected.information) & reserved != 0).then(|| part(injected, reserved, 0))
}

pub fn error_code_high(context: &Context<'_>) -> Option<Violation> {
    match context.injected?.has_error_code {
        true => bits(context, Field::VmEntryExceptionErrorCode, 0, 0xffff),
        false => None,
    }
}

pub fn length(context: &Context<'_>) -> Option<Violation> {
    let injected = context.injected?;
    let is_system_call = is_system_call(context, &injected);
    if !injected.kind.is_software() && !is_system_call {
        return None;
    }
    let length = u64::from(context.vmcs.vm_entry_instruction_len());
    let may_be_0 = is_system_call || context.capabilities.misc.allows_zero_length_injection();
    let least = if may_be_0 { 0 } else { 1 };
    (length < least || length > 15).then_some(Violation::field(
        Field::VmEntryInstructionLen,
        length,
        Allowed::Range(least, 15),
    ))
}
