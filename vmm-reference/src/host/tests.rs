// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The report, from made-up findings and from this host's KVM.

use std::path::Path;

use nested_vmx::capability::{Capabilities, Processor};

use super::*;
use crate::kvm_device::KVM_PATH;

/// A host on which everything works.
fn good() -> HostReport {
    let speed = Speed {
        guest_ns: 0.4,
        host_ns: 0.4,
    };
    HostReport {
        api_version: 12,
        max_vcpus: 64,
        recommended_vcpus: 4,
        capabilities: CAPABILITIES.iter().map(|c| (c.name, 1)).collect(),
        nested_state: Some(8320),
        nested_vmx: NestedVmx::Offered(Box::new(Capabilities::software(Processor::new(46)))),
        speed: Ok(speed),
        instructions: INSTRUCTIONS
            .iter()
            .map(|i| (i.name, Ok(Ran::Yes)))
            .collect(),
        single_step: Ok(Works::Yes),
        immediate_exit: Ok(Works::Yes),
        mechanisms: Err(ProbeError::Memory("none was tried".to_owned())),
    }
}

#[test]
fn linux_boots_where_kernel_code_is_fast_and_complete() {
    let verdict = good().verdict();
    assert!(verdict.linux_can_boot, "{verdict:?}");
    // Processors that are themselves emulated, the last one on a busy host.
    for (guest_ns, host_ns) in [(30.0, 20.0), (60.0, 4.0), (300.0, 20.0)] {
        let mut report = good();
        report.speed = Ok(Speed { guest_ns, host_ns });
        assert!(report.verdict().linux_can_boot, "{guest_ns} {host_ns}");
    }
}

#[test]
fn linux_does_not_boot_where_kvm_emulates_it() {
    let mut report = good();
    report.speed = Ok(Speed {
        guest_ns: 500.0,
        host_ns: 0.4,
    });
    report.instructions[0].1 = Ok(Ran::InternalError);
    let verdict = report.verdict();
    assert!(!verdict.linux_can_boot);
    assert!(verdict.reason.contains("500 ns"), "{verdict:?}");
    assert!(verdict.reason.contains("POPCNT"), "{verdict:?}");
    assert!(verdict.sentence().contains("--accel lab-svm"));
}

#[test]
fn linux_does_not_boot_without_a_required_capability_or_instruction() {
    let mut report = good();
    for (name, value) in &mut report.capabilities {
        if *name == "irqfd" || *name == "ioeventfd" {
            *value = 0;
        }
    }
    assert_eq!(report.verdict().reason, "KVM lacks irqfd");
    let mut report = good();
    report.instructions[1].1 = Ok(Ran::Exception);
    assert!(report.verdict().reason.contains("CMPXCHG16B"));
    // A kernel does not use what the processor lacks.
    report.instructions[1].1 = Ok(Ran::NotInProcessor);
    assert!(report.verdict().linux_can_boot);
    assert!(report.to_json()["ring0_instructions"]["cmpxchg16b"].is_null());
    let mut report = good();
    report.speed = Err(ProbeError::UnexpectedExit("Shutdown".to_owned()));
    assert!(!report.verdict().linux_can_boot);
}

#[test]
fn the_text_has_a_line_for_each_finding_and_one_closing_sentence() {
    let text = good().to_string();
    let lines: Vec<_> = text.lines().collect();
    let (last, findings) = lines.split_last().unwrap();
    assert!(last.starts_with("Linux can boot here: "), "{last}");
    for line in findings {
        let how = line.split_whitespace().next().unwrap();
        let untried = line.contains("none was tried");
        assert!(untried || ["asked", "measured"].contains(&how), "{line}");
    }
}

#[test]
fn the_json_has_what_programs_look_for() {
    let json = good().to_json();
    assert_eq!(json["linux_can_boot"], true);
    assert_eq!(json["ns_per_ring0_instruction"], 0.4);
    assert_eq!(json["capabilities"]["irqchip"], 1);
    assert_eq!(json["nested_state"], 8320);
    assert_eq!(json["nested_vmx"]["offered"], true);
    let has = json["nested_vmx"]["has"].as_array().unwrap();
    assert!(has.contains(&"EPT".into()), "{has:?}");
    let mut report = good();
    report.nested_state = None;
    report.nested_vmx = NestedVmx::None(Missing::Amd);
    let text = report.to_string();
    assert!(
        text.contains("nested VMX") && text.contains("AMD"),
        "{text}"
    );
    assert!(!text.contains("nested VMX has"), "{text}");
    assert_eq!(report.to_json()["nested_vmx"]["offered"], false);
    report.single_step = Err(ProbeError::UnexpectedExit("Intr".to_owned()));
    assert!(report.to_json()["nested_state"].is_null());
    assert!(report.to_json()["single_step"].is_null());
}

#[test]
fn this_host_is_measured() {
    let report = match HostReport::gather(Path::new(KVM_PATH)) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("SKIPPED: this_host_is_measured: {error}");
            return;
        }
    };
    println!("{report}\n{}", report.to_json());
    let speed = report.speed.as_ref().unwrap();
    assert!(speed.guest_ns > 0.0 && speed.host_ns > 0.0, "{speed:?}");
    // Part of KVM's API everywhere.
    assert_eq!(report.immediate_exit.as_ref().unwrap(), &Works::Yes);
    for (name, ran) in &report.instructions {
        assert!(ran.is_ok(), "{name}: {ran:?}");
    }
    assert!(report.single_step.is_ok(), "{:?}", report.single_step);
    let json = report.to_json();
    let mechanisms = json["immediate_exit_mechanisms"].as_array().unwrap();
    assert_eq!(mechanisms.len(), 5, "{mechanisms:?}");
    // A timer works wherever there is a guest.
    let timer = mechanisms
        .iter()
        .find(|found| found["mechanism"] == "timer");
    assert!(timer.unwrap()["with_event"]["entries"].as_u64() > Some(0));
}
