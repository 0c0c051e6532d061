// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a field's value means, in words.

use nested_vmx::controls::{
    EntryControls, ExitControls, PinControls, PrimaryControls, SecondaryControls,
    SecondaryExitControls, TertiaryControls,
};
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::instruction_error::InstructionError;
use nested_vmx::interruption::{Event, EventType};
use nested_vmx::vmcs::Field;

/// Names of the bits that are set. Bits without a name are left out: those that are reserved to 1
/// say nothing.
macro_rules! bits {
    ($type:ident, $value:expr) => {
        $type::from_bits_truncate($value as _)
            .iter_names()
            .map(|(name, _)| name)
            .collect::<Vec<_>>()
            .join(" ")
    };
}

/// What the value means, for fields that are not just numbers.
pub fn meaning(field: Field, value: u64) -> Option<String> {
    let text = match field {
        Field::PinBasedVmExecControl => bits!(PinControls, value),
        Field::CpuBasedVmExecControl => bits!(PrimaryControls, value),
        Field::SecondaryVmExecControl => bits!(SecondaryControls, value),
        Field::TertiaryVmExecControl => bits!(TertiaryControls, value),
        Field::VmExitControls => bits!(ExitControls, value),
        Field::SecondaryVmExitControls => bits!(SecondaryExitControls, value),
        Field::VmEntryControls => bits!(EntryControls, value),
        Field::VmEntryIntrInfoField | Field::VmExitIntrInfo | Field::IdtVectoringInfoField => {
            event(value)
        }
        Field::VmExitReason => ExitReason(value as u32).to_string(),
        Field::VmInstructionError => {
            InstructionError::from_number(value as u32).map_or_else(String::new, |e| e.to_string())
        }
        Field::ExceptionBitmap => exceptions(value),
        Field::GuestActivityState => match value {
            0 => "active".to_owned(),
            1 => "HLT".to_owned(),
            2 => "shutdown".to_owned(),
            3 => "wait-for-SIPI".to_owned(),
            _ => "does not exist".to_owned(),
        },
        Field::GuestInterruptibilityInfo => interruptibility(value),
        Field::EptPointer => format!(
            "table at {:#x}, walk of {}, memory type {}",
            value & !0xfff,
            (value >> 3 & 7) + 1,
            value & 7
        ),
        Field::VmcsLinkPointer if value == u64::MAX => "none".to_owned(),
        _ if field.name().ends_with("_AR_BYTES") => access_rights(value),
        _ => return None,
    };
    Some(text).filter(|text| !text.is_empty())
}

fn event(value: u64) -> String {
    let Some(event) = Event::from_fields(value as u32, 0, 0) else {
        return "none".to_owned();
    };
    let kind = match event.kind {
        EventType::ExternalInterrupt => "external interrupt",
        EventType::Reserved => "reserved type",
        EventType::Nmi => "NMI",
        EventType::HardwareException => "hardware exception",
        EventType::SoftwareInterrupt => "software interrupt",
        EventType::PrivilegedSoftwareException => "privileged software exception",
        EventType::SoftwareException => "software exception",
        EventType::Other => "other event (MTF)",
    };
    let code = match event.error_code {
        Some(_) => ", with an error code",
        None => "",
    };
    format!("{kind}, vector {}{code}", event.vector)
}

/// Mnemonics of the exceptions (SDM volume 3, table 7-1).
const EXCEPTIONS: [&str; 22] = [
    "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9", "#TS", "#NP", "#SS", "#GP",
    "#PF", "15", "#MF", "#AC", "#MC", "#XM", "#VE", "#CP",
];

fn exceptions(value: u64) -> String {
    let names = (0..32_usize)
        .filter(|vector| value >> vector & 1 != 0)
        .map(|vector| {
            let name = EXCEPTIONS.get(vector).copied().map(str::to_owned);
            name.unwrap_or_else(|| vector.to_string())
        });
    names.collect::<Vec<_>>().join(" ")
}

fn interruptibility(value: u64) -> String {
    let known = [
        (1, "blocking by STI"),
        (2, "blocking by MOV SS"),
        (4, "blocking by SMI"),
        (8, "blocking by NMI"),
        (16, "enclave interruption"),
    ];
    let set = known.iter().filter(|&&(bit, _)| value & bit != 0);
    set.map(|&(_, name)| name).collect::<Vec<_>>().join(", ")
}

fn access_rights(value: u64) -> String {
    if value >> 16 & 1 != 0 {
        return "unusable".to_owned();
    }
    let kind = match (value >> 4 & 1, value & 0xf) {
        (0, 2) => "LDT".to_owned(),
        (0, 3) => "busy 16-bit TSS".to_owned(),
        (0, 11) => "busy TSS".to_owned(),
        (0, other) => format!("system type {other}"),
        (_, code @ 8..) => {
            let readable = if code & 2 != 0 { "readable " } else { "" };
            let conforming = if code & 4 != 0 { "conforming " } else { "" };
            let accessed = if code & 1 != 0 { "" } else { ", not accessed" };
            format!("{readable}{conforming}code{accessed}")
        }
        (_, data) => {
            let writable = if data & 2 != 0 {
                "writable "
            } else {
                "read-only "
            };
            let down = if data & 4 != 0 { "expand-down " } else { "" };
            let accessed = if data & 1 != 0 { "" } else { ", not accessed" };
            format!("{writable}{down}data{accessed}")
        }
    };
    let flags = [
        (7, "", ", not present"),
        (13, ", 64-bit", ""),
        (14, ", D/B", ""),
        (15, ", pages", ""),
    ];
    let flags: String = flags
        .iter()
        .map(|&(bit, set, clear)| if value >> bit & 1 != 0 { set } else { clear })
        .collect();
    format!("{kind}, DPL {}{flags}", value >> 5 & 3)
}
