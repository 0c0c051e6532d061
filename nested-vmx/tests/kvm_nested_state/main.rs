// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! KVM itself: what KVM_SET_NESTED_STATE takes and refuses, compared with what is said about it,
//! and restores of a vCPU.
//!
//! Where KVM is missing, or its nested VMX, each test says so in one line that begins with
//! `SKIPPED:`. `NESTED_STATES` is the number of states, 20000 if it is not set; `NESTED_SEED` begins
//! another sequence of them.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, reason = "a test may")]

mod host;
mod known;
mod machine;
mod memory;
mod random;
mod restore;
mod states;
mod tally;

use std::env;

use nested_vmx::kvm::{Context, Errno, KvmVcpu, NestedState, VcpuPort, judge};

use host::Host;
use machine::Machine;
use random::Random;
use tally::Tally;

/// So many states are given to one machine.
const PER_MACHINE: u64 = 1000;

fn number(name: &str, otherwise: u64) -> u64 {
    match env::var(name) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => otherwise,
    }
}

#[test]
fn kvm_and_the_judgement_agree() {
    let Some(host) = Host::with_nested_vmx("kvm_and_the_judgement_agree") else {
        return;
    };
    let mut random = Random::new(number("NESTED_SEED", 1));
    let mut tally = Tally::default();
    let mut machine = Machine::new(&host);
    let offered = machine.offered();
    for at in 0..number("NESTED_STATES", 20_000) {
        if at % PER_MACHINE == PER_MACHINE - 1 {
            machine = Machine::new(&host);
        }
        let Some(given) = states::make(at, &offered.capabilities, &mut random, &machine.memory)
        else {
            continue;
        };
        let context = offered.context().with_memory(&machine.memory);
        machine.enter_smm(given.in_smm);
        let context = context.with_smm(given.in_smm);
        compare(&machine, &given, &context, &mut tally);
    }
    tally.finish();
}

fn compare(machine: &Machine, given: &states::Given, context: &Context<'_>, tally: &mut Tally) {
    let vcpu = KvmVcpu(&machine.vcpu);
    let judgement = judge(&given.state, context);
    let found = vcpu.set_nested_state(&given.state);
    match (&found, judgement.accepted()) {
        (Ok(()), Ok(())) => {
            tally.accepted += 1;
            tally.same(given, is_kept(&vcpu, &given.state));
        }
        (Err(errno), Err(refusal)) => {
            // KVM gives a positive number for CR3, and errno is what it was.
            let is_number = refusal.id() == "g_cr3";
            match is_number || *errno == refusal.errno() {
                true => tally.refused += 1,
                false => tally.disagree(given, &judgement, &found),
            }
        }
        _ => match known::reason(given, &judgement, &found) {
            Some(reason) => tally.known(reason),
            None => tally.disagree(given, &judgement, &found),
        },
    }
    if judgement.is_accepted() != found.is_ok() || found.is_err() {
        // Half restored: begin anew.
        vcpu.set_nested_state(&NestedState::off()).expect("off");
    }
}

/// What is read is taken again and read the same, and says what was set.
fn is_kept(vcpu: &KvmVcpu<'_>, given: &NestedState) -> Result<(), String> {
    let name = |errno: Errno| errno.to_string();
    let first = vcpu.nested_state().map_err(name)?;
    vcpu.set_nested_state(&first)
        .map_err(|errno| format!("what was read is refused: {errno}"))?;
    let second = vcpu.nested_state().map_err(name)?;
    if first.to_bytes() != second.to_bytes() {
        return Err("read, set and read again: it differs".to_owned());
    }
    let header = |state: &NestedState| (state.vmxon(), state.current(), state.smm_flags());
    match given.vmxon().is_some() && header(given) != header(&first) {
        true => Err(format!("{:?} became {:?}", header(given), header(&first))),
        false => Ok(()),
    }
}
