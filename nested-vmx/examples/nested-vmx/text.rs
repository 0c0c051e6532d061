// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The report as text.

use std::fmt::{self, Write};

use nested_vmx::check::EntryInstruction;
use nested_vmx::kvm::{HeaderFlags, Judgement, NestedState};
use nested_vmx::vmcs::LaunchState;

use super::nested_state::{names, words};
use super::report::{Explained, Report, remedy};

/// The whole report.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut text, report);
    text
}

fn write(text: &mut String, report: &Report) -> fmt::Result {
    if let Some(state) = &report.nested_state {
        nested_state(text, state, &report.judgement)?;
    }
    match &report.vmcs12 {
        Some(explained) => vmcs12(text, explained),
        None => writeln!(text, "no current VMCS"),
    }
}

fn pointer(value: Option<u64>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| format!("{value:#x}"))
}

fn flags<F: bitflags::Flags<Bits: fmt::LowerHex>>(flags: F) -> String {
    match names(flags).join(" ") {
        none if none.is_empty() => "none".to_owned(),
        some => some,
    }
}

fn nested_state(text: &mut String, state: &NestedState, judgement: &Judgement) -> fmt::Result {
    writeln!(text, "nested state, {} bytes", state.size())?;
    writeln!(text, "  flags               {}", flags(state.flags()))?;
    writeln!(text, "  VMXON region        {}", pointer(state.vmxon()))?;
    writeln!(text, "  current VMCS        {}", pointer(state.current()))?;
    writeln!(text, "  SMM flags           {}", flags(state.smm_flags()))?;
    if state.header_flags() != HeaderFlags::empty() {
        writeln!(
            text,
            "  header flags        {}",
            flags(state.header_flags())
        )?;
    }
    if let Some(deadline) = state.preemption_timer_deadline() {
        writeln!(text, "  timer deadline      {deadline:#x}")?;
    }
    if let Some(shadow) = state.shadow_vmcs12() {
        let indicator = match shadow.is_shadow() {
            true => "",
            false => ", without the shadow-VMCS indicator",
        };
        let revision = shadow.revision();
        writeln!(
            text,
            "  shadow VMCS         revision {revision:#x}{indicator}"
        )?;
    }
    if judgement.is_accepted() {
        writeln!(text, "\nKVM_SET_NESTED_STATE: takes it")?;
    } else {
        writeln!(text, "\nKVM_SET_NESTED_STATE: refuses it")?;
    }
    for [sentence, remedy] in judgement.refusals().iter().map(words) {
        writeln!(text, "  {sentence}\n    {remedy}")?;
    }
    for doubt in judgement.doubts() {
        writeln!(text, "  then the processor: {doubt}")?;
    }
    writeln!(text)
}

fn vmcs12(text: &mut String, explained: &Explained) -> fmt::Result {
    let launch_state = match explained.launch_state {
        LaunchState::Clear => "clear",
        LaunchState::Launched => "launched",
    };
    let shadow = if explained.is_shadow { ", shadow" } else { "" };
    writeln!(
        text,
        "vmcs12: revision {:#x}{shadow}, {launch_state}",
        explained.revision
    )?;
    if explained.abort != 0 {
        writeln!(text, "  VMX-abort indicator {:#x}", explained.abort)?;
    }
    for (name, lines) in &explained.groups {
        writeln!(text, "\n{name}")?;
        for line in lines {
            write!(text, "  {:<32} {:#x}", line.field.name(), line.value)?;
            match &line.meaning {
                Some(meaning) => writeln!(text, "  ({meaning})")?,
                None => writeln!(text)?,
            }
        }
    }
    verdict(text, explained)
}

/// The instruction's name.
pub fn instruction(instruction: EntryInstruction) -> &'static str {
    match instruction {
        EntryInstruction::Vmlaunch => "VMLAUNCH",
        EntryInstruction::Vmresume => "VMRESUME",
    }
}

fn verdict(text: &mut String, explained: &Explained) -> fmt::Result {
    let name = instruction(explained.instruction);
    let Some(first) = explained.failures.first() else {
        return writeln!(text, "\nverdict: {name} enters L2");
    };
    writeln!(text, "\nverdict: {name} fails: {}", first.outcome())?;
    for failure in &explained.failures {
        writeln!(
            text,
            "  {}: {} (SDM volume 3, section {})",
            failure.rule.id(),
            failure.rule.requirement(),
            failure.rule.section()
        )?;
        writeln!(text, "    {}", remedy(failure))?;
    }
    Ok(())
}
