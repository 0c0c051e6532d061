// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The example that explains a vmcs12 or a nested state: what it says, and what it says about bad
//! input. Its modules are compiled in here; `main` only calls them.
#![allow(clippy::expect_used, clippy::panic, reason = "a test may")]
#![allow(dead_code, reason = "the example uses all of it")]

#[path = "../examples/nested-vmx/capabilities_file.rs"]
mod capabilities_file;
#[path = "../examples/nested-vmx/cli.rs"]
mod cli;
#[path = "../examples/nested-vmx/decode.rs"]
mod decode;
#[path = "../examples/nested-vmx/error.rs"]
mod error;
#[path = "../examples/nested-vmx/input.rs"]
mod input;
#[path = "../examples/nested-vmx/json.rs"]
mod json;
#[path = "../examples/nested-vmx/nested_state.rs"]
mod nested_state;
#[path = "../examples/nested-vmx/report.rs"]
mod report;
#[path = "../examples/nested-vmx/text.rs"]
mod text;

use capabilities_file::Given;
use cli::Kind;
use error::Problem;
use input::Input;
use nested_vmx::capability::{Capabilities, Processor};
use nested_vmx::interruption::Event;
use nested_vmx::model::vmcs12_of;
use nested_vmx::vmcs::{Field, KVM_REVISION, Vmcs};
use proptest::prelude::*;
use report::Report;

fn good() -> Vmcs {
    vmcs12_of(&Capabilities::software(Processor::new(52)))
}

fn explain(bytes: &[u8]) -> Result<Report, Problem> {
    let input = Input::parse(bytes, Kind::Auto)?;
    Ok(Report::explain(input, &Given::software()))
}

/// A `struct kvm_nested_state` with these VMCSs.
fn nested_state(flags: u16, current: u64, regions: &[&Vmcs]) -> Vec<u8> {
    let size = 128 + 4096 * regions.len();
    let mut bytes = Vec::new();
    bytes.extend(flags.to_le_bytes());
    bytes.extend(0_u16.to_le_bytes());
    bytes.extend((size as u32).to_le_bytes());
    bytes.extend(0x1000_u64.to_le_bytes());
    bytes.extend(current.to_le_bytes());
    bytes.resize(128, 0);
    for region in regions {
        bytes.extend(region.as_bytes());
    }
    bytes
}

#[test]
fn a_good_vmcs_is_accepted() {
    let report = explain(good().as_bytes()).expect("a vmcs12");
    assert!(report.is_accepted());
    let text = text::render(&report);
    for expected in [
        "vmcs12: revision 0x11e57ed0, clear",
        "\nguest state\n",
        "GUEST_RIP                        0x4000",
        "(readable code, DPL 0, 64-bit, pages)",
        "(unusable)",
        "(ACTIVATE_SECONDARY_CONTROLS)",
        "verdict: VMLAUNCH enters L2",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
}

#[test]
fn each_failed_rule_says_what_to_change() {
    let mut vmcs = good();
    vmcs.write(Field::GuestRflags, 0);
    vmcs.write(Field::GuestActivityState, 7);
    vmcs.write(Field::VmExitReason, 0x8000_0021);
    let event = Event::exception(14, Some(2)).information();
    vmcs.write(Field::IdtVectoringInfoField, event.into());
    let report = explain(vmcs.as_bytes()).expect("a vmcs12");
    assert!(!report.is_accepted());
    let text = text::render(&report);
    for expected in [
        "verdict: VMLAUNCH fails: ENTRY_FAILURE_GUEST_STATE (33), failed VM entry, qualification 0",
        "g_rflags: Reserved bits of guest RFLAGS are 0, and bit 1 is 1 (SDM volume 3, section 28.3.1.4)",
        "GUEST_RFLAGS is 0x0; allowed: with the bits 0x2 and no others but 0x3f7fd7, for example 0x2",
        "g_act_sup",
        "GUEST_ACTIVITY_STATE is 0x7; allowed: 0x0, for example 0x0",
        "VM_EXIT_REASON                   0x80000021  (ENTRY_FAILURE_GUEST_STATE (33), failed VM entry)",
        "(hardware exception, vector 14, with an error code)",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    // What is suggested is accepted.
    vmcs.write(Field::GuestRflags, 2);
    vmcs.write(Field::GuestActivityState, 0);
    assert!(explain(vmcs.as_bytes()).expect("a vmcs12").is_accepted());
}

#[test]
fn json_says_the_same() {
    let mut vmcs = good();
    vmcs.write(Field::HostCsSelector, 0);
    let state = nested_state(3, 0x2000, &[&vmcs]);
    let report = explain(&state).expect("a nested state");
    let json: serde_json::Value = serde_json::from_str(&json::render(&report)).expect("JSON");
    assert_eq!(json["accepted"], false);
    assert_eq!(json["nested_state"]["flags"][1], "RUN_PENDING");
    assert_eq!(json["nested_state"]["vmxon"], "0x1000");
    let vmcs12 = &json["vmcs12"];
    assert_eq!(
        vmcs12["fields"]["guest_state"]["GUEST_RIP"]["value"],
        "0x4000"
    );
    assert_eq!(
        vmcs12["fields"]["guest_state"]["GUEST_RIP"]["encoding"],
        "0x681e"
    );
    let verdict = &vmcs12["verdict"];
    assert_eq!(verdict["instruction"], "VMLAUNCH");
    assert_eq!(verdict["failures"][0]["rule"], "host_cs_tr");
    assert_eq!(
        verdict["outcome"],
        "VMfailValid 8: VM entry with invalid host-state fields"
    );
}

#[test]
fn nested_states() {
    let mut shadow = good();
    shadow.set_header(KVM_REVISION, true);
    let full = explain(&nested_state(1 | 8, 0x2000, &[&good(), &shadow])).expect("a nested state");
    let text = text::render(&full);
    for expected in [
        "nested state, 8320 bytes",
        "GUEST_MODE MTF_PENDING",
        "current VMCS        0x2000",
        "shadow VMCS         revision 0x11e57ed0\n",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    let none = explain(&nested_state(0x10, u64::MAX, &[])).expect("a nested state");
    assert!(!none.is_accepted() && none.vmcs12.is_none());
    let text = text::render(&none);
    assert!(
        text.contains("KVM_SET_NESTED_STATE: refuses it") && text.contains("clear the others"),
        "{text}"
    );
    let text = text::render(&none);
    assert!(
        text.contains("unknown 0x10") && text.contains("no current VMCS"),
        "{text}"
    );
    // The link pointer is the current VMCS's own address.
    let mut linked = good();
    linked.write(Field::VmcsLinkPointer, 0x2000);
    let report = explain(&nested_state(0, 0x2000, &[&linked])).expect("a nested state");
    assert!(text::render(&report).contains("g_link_cur"));
}

#[test]
fn what_kvm_would_refuse() {
    let mut part = nested_state(0, 0x2000, &[&good()]);
    part.truncate(1000);
    part[4..8].copy_from_slice(&1000_u32.to_le_bytes());
    for state in [nested_state(0, 0x2000, &[]), part] {
        let report = explain(&state).expect("a nested state");
        assert!(!report.is_accepted() && report.vmcs12.is_none());
        let text = text::render(&report);
        assert!(text.contains("set the size to 4224 at least"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&json::render(&report)).expect("JSON");
        let refusal = &json["nested_state"]["refusals"][0];
        assert_eq!(refusal["rule"], "short_current");
        assert_eq!(refusal["errno"], "EINVAL");
    }
    // KVM takes it, the processor will not.
    let mut vmcs = good();
    vmcs.write(Field::GuestRflags, 0);
    let report = explain(&nested_state(1, 0x2000, &[&vmcs])).expect("a nested state");
    let text = text::render(&report);
    assert!(text.contains("KVM_SET_NESTED_STATE: takes it"), "{text}");
    assert!(text.contains("then the processor: g_rflags"), "{text}");
}

#[test]
fn bad_inputs_are_named() {
    let state = nested_state(1, 0x2000, &[&good()]);
    let mut svm = state.clone();
    svm[2] = 1;
    for (bytes, kind, expected) in [
        (&b""[..], Kind::Auto, Problem::Unknown(0)),
        (&[0xff; 100], Kind::Auto, Problem::Unknown(100)),
        (&[0; 997], Kind::Vmcs12, Problem::VmcsSize(997)),
        (&[0; 4097], Kind::Vmcs12, Problem::VmcsSize(4097)),
        (&[0; 127], Kind::NestedState, Problem::NoHeader(127)),
        (&svm, Kind::Auto, Problem::Format(1)),
        (
            &state[..500],
            Kind::Auto,
            Problem::CutOff {
                said: 4224,
                found: 500,
            },
        ),
        (b"# nothing = here\n", Kind::Auto, Problem::Empty),
        (&[0xff], Kind::Text, Problem::NotText),
        (
            b"GUEST_RIP=4\nGUEST_RIP",
            Kind::Text,
            Problem::Assignment {
                line: 2,
                text: "GUEST_RIP".to_owned(),
            },
        ),
        (
            b"\nGUEST_RIP=xyz",
            Kind::Text,
            Problem::Number {
                line: 2,
                text: "xyz".to_owned(),
            },
        ),
        (
            b"GUEST_PIR=1",
            Kind::Text,
            Problem::Field {
                line: 1,
                text: "GUEST_PIR".to_owned(),
            },
        ),
    ] {
        let found = Input::parse(bytes, kind).expect_err("bad input");
        assert_eq!(found, expected);
        assert!(found.to_string().len() > 10);
    }
}

#[test]
fn text_and_capability_files() {
    let text = b"# fields\nGUEST_RIP = 0x1234, 681c=5678\n2001=1 # the high half\n";
    let Ok(Input::Vmcs12(vmcs)) = Input::parse(text, Kind::Auto) else {
        panic!("a vmcs12");
    };
    assert_eq!((vmcs.guest_rip(), vmcs.guest_rsp()), (0x1234, 0x5678));
    assert_eq!(vmcs.io_bitmap_a(), 1 << 32);

    let given = Given::parse("# caps s 480=d8100000000004|cr0=31|maxphy=40\n").expect("good");
    assert_eq!(given.capabilities.basic.revision(), 4);
    assert_eq!(given.l1.cr0, 0x31);
    assert_eq!(given.capabilities.processor.physical_address_width, 40);
    let given = Given::parse("IA32_VMX_MISC=20\n3a=5").expect("good");
    assert!(given.capabilities.feature_control.allows_vmxon());
    assert_eq!(Given::parse("cr0=1"), Err(Problem::Empty));
    assert!(matches!(
        Given::parse("999=1"),
        Err(Problem::Capability { line: 1, .. })
    ));
    assert!(matches!(
        Given::parse("maxphy=z"),
        Err(Problem::Number { .. })
    ));
}

#[test]
fn command_lines() {
    let parse = |words: &[&str]| {
        let words = ["nested-vmx"].iter().chain(words).map(Into::into);
        cli::parse(words)
    };
    let options = parse(&["--json", "--cr0", "0x31", "--input", "text", "f"]).expect("good");
    assert_eq!(
        (options.json, options.cr0, options.kind),
        (true, Some(0x31), Kind::Text)
    );
    assert!(parse(&[]).is_err());
    assert!(parse(&["--cr0", "zz", "f"]).is_err());
    assert!(parse(&["--input", "blob", "f"]).is_err());
    let missing = Report::of(&parse(&["/no/such/file"]).expect("good")).expect_err("no file");
    assert!(missing.to_string().contains("/no/such/file"), "{missing}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_bytes_are_explained_or_refused(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..9000),
        header in any::<bool>(),
    ) {
        if header && bytes.len() >= 8 {
            let length = bytes.len() as u32;
            bytes[2..4].fill(0);
            bytes[4..8].copy_from_slice(&length.to_le_bytes());
        }
        for kind in [Kind::Auto, Kind::Vmcs12, Kind::NestedState, Kind::Text] {
            if let Ok(input) = Input::parse(&bytes, kind) {
                let report = Report::explain(input, &Given::software());
                prop_assert!(!text::render(&report).is_empty());
                let json: Result<serde_json::Value, _> = serde_json::from_str(&json::render(&report));
                prop_assert!(json.is_ok());
            }
        }
    }

    #[test]
    fn any_text_is_understood_or_refused(text in "[A-Z0-9a-f_=,|# \n]{0,200}") {
        let _ = Given::parse(&text);
        let _ = Input::parse(text.as_bytes(), Kind::Text);
    }
}
