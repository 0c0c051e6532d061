// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `vmm-reference host`.

mod machine;

use std::process::{Command, Stdio};

use machine::{Ran, binary, has_kvm};

fn host(arguments: &[&str]) -> Ran {
    Ran::run(Command::new(binary()).arg("host").args(arguments))
}

#[test]
fn text_and_json_agree() {
    if !has_kvm("text_and_json_agree") {
        return;
    }
    let text = host(&[]);
    assert_eq!(text.status, Some(0), "{text:?}");
    let json = host(&["--json"]);
    assert_eq!(json.status, Some(0), "{json:?}");
    assert_eq!(json.output.lines().count(), 1);
    let json: serde_json::Value = serde_json::from_str(&json.output).unwrap();
    let can_boot = json["linux_can_boot"].as_bool().unwrap();
    let sentence = text.output.lines().last().unwrap();
    assert_eq!(
        sentence.starts_with("Linux can boot here: "),
        can_boot,
        "{sentence}"
    );
    assert_eq!(
        sentence.contains("--accel lab-svm"),
        !can_boot,
        "{sentence}"
    );
    assert!(json["ns_per_ring0_instruction"].as_f64().unwrap() > 0.0);
    assert_eq!(json["api_version"], 12);
    assert_eq!(json["immediate_exit"], true);
    assert!(json["single_step"].is_boolean());
}

#[test]
fn a_closed_standard_output_has_its_own_status() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = Command::new(binary())
        .arg("--help")
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn();
    let ran = Ran::of(child.unwrap());
    assert_eq!(ran.status, Some(8), "{ran:?}");
    assert!(ran.complaint().contains("Broken pipe"), "{ran:?}");
}

#[test]
fn the_help_tells_each_exit_status() {
    let ran = Ran::run(Command::new(binary()).arg("--help"));
    assert_eq!(ran.status, Some(0));
    assert!(
        ran.output.contains(vmm_reference::exit_status::HELP),
        "{}",
        ran.output
    );
}
