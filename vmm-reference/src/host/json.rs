// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The report as one line of JSON.

use serde_json::{Map, Value, json};

use super::{HostReport, ProbeError, Ran, Works, mechanisms};
use crate::kvm_device::KvmError;

impl HostReport {
    /// As JSON. What could not be measured is `null`.
    pub fn to_json(&self) -> Value {
        let verdict = self.verdict();
        let speed = self.speed.as_ref().ok();
        let capabilities: Map<_, _> = self
            .capabilities
            .iter()
            .map(|&(name, value)| (name.to_owned(), json!(value)))
            .collect();
        let instructions: Map<_, _> = self
            .instructions
            .iter()
            .map(|(name, ran)| {
                let tried = !matches!(ran, Ok(Ran::NotInProcessor));
                let runs = tried.then(|| is(ran, Ran::Yes));
                ((*name).to_owned(), json!(runs))
            })
            .collect();
        json!({
            "linux_can_boot": verdict.linux_can_boot,
            "reason": verdict.reason,
            "api_version": self.api_version,
            "max_vcpus": self.max_vcpus,
            "recommended_vcpus": self.recommended_vcpus,
            "capabilities": capabilities,
            "ns_per_ring0_instruction": speed.map(|speed| speed.guest_ns),
            "ns_per_host_instruction": speed.map(|speed| speed.host_ns),
            "ring0_instructions": instructions,
            "single_step": is(&self.single_step, Works::Yes),
            "immediate_exit": is(&self.immediate_exit, Works::Yes),
            "immediate_exit_mechanisms": self.mechanisms.as_ref().ok().map(mechanisms::json),
            "nested_state": self.nested_state,
            "nested_vmx": {
                "offered": self.nested_vmx.is_offered(),
                "summary": self.nested_vmx.summary(),
                "has": self.nested_vmx.features(true),
                "lacks": self.nested_vmx.features(false),
            },
        })
    }

    /// What a program that asked for JSON gets when there is no KVM to report on.
    pub fn json_without_kvm(error: &KvmError) -> Value {
        json!({ "linux_can_boot": false, "reason": error.to_string() })
    }
}

fn is<T: PartialEq>(found: &Result<T, ProbeError>, expected: T) -> Value {
    json!(found.as_ref().ok().map(|found| *found == expected))
}
