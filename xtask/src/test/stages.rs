// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The stages, in order: what is quick and likely to fail comes first.

use std::process::Command;

use super::lab;
use super::stage::{Stage, Step};
use crate::workspace::Workspace;
use crate::{process, tools};

/// Seconds for each fuzz target in the full run.
const FUZZ_SECONDS: &str = "15";

/// For how long each mixture of what may be asked of a vCPU goes on: some seconds in the tests that a
/// developer runs, a minute in the full run.
const FULL_MIXTURE: &str = "VCPU_RUNNER_MIXTURE_SECONDS=60";
const MIXTURE: &str = "VCPU_RUNNER_MIXTURE_SECONDS=10";

/// All stages; the last ones only when `full`.
pub fn all(workspace: &Workspace, full: bool) -> Vec<Stage> {
    let mixture = if full { FULL_MIXTURE } else { MIXTURE };
    let mut stages = vec![
        formatting(workspace),
        clippy(workspace),
        unit_tests(workspace),
        kvm_tests(workspace, mixture),
        loom(workspace),
        corpora(workspace),
        lab_boot(),
    ];
    stages.extend(lab::stages(workspace, mixture));
    stages.push(traces());
    if full {
        stages.extend([benchmarks(), deny(workspace), coverage(), fuzzing()]);
    }
    stages
}

fn formatting(workspace: &Workspace) -> Stage {
    let fuzz = [
        "fmt",
        "--all",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--check",
    ];
    let commands = [
        workspace.cargo(["fmt", "--all", "--check"]),
        workspace.cargo(fuzz),
    ];
    Stage::new("formatting", commands)
}

fn clippy(workspace: &Workspace) -> Stage {
    let clippy = |arguments: &[&str]| {
        let all = ["--workspace", "--all-targets"];
        workspace.cargo([&["clippy"], arguments, &all, &["--", "-D", "warnings"]].concat())
    };
    let mut fuzz = clippy(&["--manifest-path", "fuzz/Cargo.toml"]);
    fuzz.env("CARGO_TARGET_DIR", &workspace.target);
    Stage::new("clippy", [clippy(&[]), fuzz])
}

fn unit_tests(workspace: &Workspace) -> Stage {
    let test = |arguments: &[&str]| {
        workspace.cargo([&["test", "--workspace"], arguments, SHOW_SKIPPED].concat())
    };
    let commands = [test(&["--lib", "--bins", "--examples"]), test(&["--doc"])];
    Stage::new("unit and doc tests", commands)
}

/// Without it what a test that passes prints, such as that it skipped itself, is not shown.
const SHOW_SKIPPED: &[&str] = &["--", "--show-output"];

fn kvm_tests(workspace: &Workspace, mixture: &str) -> Stage {
    let test = ["test", "--workspace", "--test", "*"];
    let mut command = workspace.cargo([&test, SHOW_SKIPPED].concat());
    command.envs(mixture.split_once('='));
    Stage::new("tests on this host's KVM", [command])
}

fn loom(workspace: &Workspace) -> Stage {
    let models = |arguments: &[&str]| {
        let mut command = workspace.cargo(["test", "--release"].iter().chain(arguments));
        // Other flags rebuild everything: a directory of their own keeps what the others built.
        command.env("CARGO_TARGET_DIR", workspace.target.join("loom"));
        command.env("RUSTFLAGS", "--cfg loom");
        command
    };
    let requests = models(&["--package", "vcpu-requests", "--test", "loom"]);
    let runner = models(&["--package", "vcpu-runner", "--lib", "models"]);
    Stage::new("loom models", [requests, runner])
}

fn corpora(workspace: &Workspace) -> Stage {
    let test = [
        "test",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--package",
        "fuzz-common",
    ];
    let mut command = workspace.cargo(test);
    command.env("CARGO_TARGET_DIR", &workspace.target);
    Stage::new("replay of the fuzz corpora", [command])
}

/// Another command of this program.
fn xtask(arguments: &[&str]) -> Command {
    let mut command = Command::new(process::OURSELVES);
    command.args(arguments);
    command
}

fn lab_boot() -> Stage {
    let boot = xtask(&["boot", "--accel", "lab-svm", "--json"]);
    Stage::new("lab svm: the VMM boots the stock kernel", [boot])
}

fn traces() -> Stage {
    let name = "guest/l1 on each machine, traces compared";
    Stage::new(name, [xtask(&["traces"])])
}

/// That the benchmarks run. Times are for who looks at them.
fn benchmarks() -> Stage {
    let quick = xtask(&["bench", "--quick", "--host", "kvm"]);
    Stage::new("benchmarks run", [quick])
}

fn deny(workspace: &Workspace) -> Stage {
    let workspace = workspace.clone();
    let step = move |manifest: &'static str, workspace: Workspace| -> Step {
        Box::new(move || {
            tools::ensure("cargo-deny")?;
            let check = ["check", "bans", "licenses", "sources"];
            let before = ["deny", "--manifest-path", manifest, "--config", "deny.toml"];
            Ok(workspace.cargo(before.iter().chain(&check)))
        })
    };
    let steps = vec![
        step("Cargo.toml", workspace.clone()),
        step("fuzz/Cargo.toml", workspace),
    ];
    Stage::prepared("cargo-deny", steps)
}

fn coverage() -> Stage {
    Stage::new("coverage", [xtask(&["coverage"])])
}

fn fuzzing() -> Stage {
    Stage::new("fuzzing", [xtask(&["fuzz", "--seconds", FUZZ_SECONDS])])
}
