// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The report as JSON. Numbers of 64 bits are strings, as `"0x1234"`: not every reader of JSON has
//! so many.

use nested_vmx::kvm::{Judgement, NestedState};
use nested_vmx::vmcs::LaunchState;
use serde_json::{Map, Value, json};

use super::nested_state::{names, words};
use super::report::{Explained, Report, remedy};
use super::text::instruction;

/// The whole report, with an end of line.
pub fn render(report: &Report) -> String {
    let value = json!({
        "nested_state": report.nested_state.as_ref().map(|state| nested_state(state, &report.judgement)),
        "vmcs12": report.vmcs12.as_ref().map(vmcs12),
        "accepted": report.is_accepted(),
    });
    format!("{value:#}\n")
}

fn hexadecimal(value: u64) -> String {
    format!("{value:#x}")
}

fn nested_state(state: &NestedState, judgement: &Judgement) -> Value {
    let refusals: Vec<Value> = judgement
        .refusals()
        .iter()
        .map(|refusal| {
            let [sentence, remedy] = words(refusal);
            json!({
                "rule": refusal.id(),
                "errno": refusal.errno().to_string(),
                "sentence": sentence,
                "remedy": remedy,
            })
        })
        .collect();
    let shadow = state.shadow_vmcs12();
    json!({
        "size": state.size(),
        "flags": names(state.flags()),
        "vmxon": state.vmxon().map(hexadecimal),
        "current": state.current().map(hexadecimal),
        "smm_flags": names(state.smm_flags()),
        "header_flags": names(state.header_flags()),
        "preemption_timer_deadline": state.preemption_timer_deadline().map(hexadecimal),
        "shadow_revision": shadow.map(|shadow| hexadecimal(shadow.revision().into())),
        "refusals": refusals,
        "doubts": judgement.doubts().iter().map(|doubt| doubt.rule.id()).collect::<Vec<_>>(),
    })
}

fn vmcs12(explained: &Explained) -> Value {
    let groups: Map<String, Value> = explained
        .groups
        .iter()
        .map(|(name, lines)| {
            let fields: Map<String, Value> = lines
                .iter()
                .map(|line| {
                    let value = json!({
                        "encoding": hexadecimal(line.field.encoding().0.into()),
                        "value": hexadecimal(line.value),
                        "meaning": line.meaning,
                    });
                    (line.field.name().to_owned(), value)
                })
                .collect();
            (name.replace(' ', "_"), fields.into())
        })
        .collect();
    let failures: Vec<Value> = explained
        .failures
        .iter()
        .map(|failure| {
            json!({
                "rule": failure.rule.id(),
                "requirement": failure.rule.requirement(),
                "section": failure.rule.section(),
                "outcome": failure.outcome().to_string(),
                "subject": failure.violation.subject.to_string(),
                "value": hexadecimal(failure.violation.value),
                "allowed": failure.violation.allowed.to_string(),
                "remedy": remedy(failure),
            })
        })
        .collect();
    json!({
        "revision": hexadecimal(explained.revision.into()),
        "shadow": explained.is_shadow,
        "launch_state": match explained.launch_state {
            LaunchState::Clear => "clear",
            LaunchState::Launched => "launched",
        },
        "abort": explained.abort,
        "fields": groups,
        "verdict": {
            "instruction": instruction(explained.instruction),
            "outcome": explained.failures.first().map(|failure| failure.outcome().to_string()),
            "failures": failures,
        },
    })
}
