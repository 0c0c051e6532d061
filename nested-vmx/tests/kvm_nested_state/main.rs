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

use std::{env, fs};

use nested_vmx::kvm::{Context, KvmVcpu, NestedState, SmmFlags, VcpuPort, judge};

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
    let wanted = number("NESTED_STATES", 20_000);
    let mut made = 0;
    for at in 0_u64.. {
        if made == wanted {
            break;
        }
        if at % PER_MACHINE == PER_MACHINE - 1 {
            machine = Machine::new(&host);
        }
        let Some(given) = states::make(at, &offered.capabilities, &mut random, &machine.memory)
        else {
            continue;
        };
        made += 1;
        let context = offered.context().with_memory(&machine.memory);
        machine.enter_smm(given.in_smm);
        let context = context.with_smm(given.in_smm);
        compare(&machine, &given, &context, &mut tally);
        if given.state.smm_flags().contains(SmmFlags::GUEST_MODE) {
            // KVM remembers the flag for ever, and shows it with every state that comes later, which
            // is then refused outside SMM (nested.c, free_nested).
            machine = Machine::new(&host);
        }
    }
    tally.finish();
}

fn compare(machine: &Machine, given: &states::Given, context: &Context<'_>, tally: &mut Tally) {
    let vcpu = KvmVcpu(&machine.vcpu);
    let judgement = judge(&given.state, context);
    // Where KVM gives no error, errno stays what it is: then it must not be one of KVM's.
    if judgement
        .accepted()
        .is_err_and(|refusal| refusal.id() == "g_cr3")
    {
        let _ = fs::metadata("/there/is/no/such/file");
    }
    let found = vcpu.set_nested_state(&given.state);
    match (&found, judgement.accepted()) {
        (Ok(()), Ok(())) => {
            tally.accepted += 1;
            is_kept(&vcpu, given, context, tally);
        }
        (Err(errno), Err(refusal)) => {
            if *errno == refusal.errno() {
                tally.refused += 1;
            } else if refusal.id() == "g_cr3" {
                tally.known(known::NO_ERROR);
            } else {
                tally.disagree(given, &judgement, &found);
            }
        }
        _ => match known::reason(given, &judgement, &found) {
            Some(reason) => tally.known(reason),
            None => tally.disagree(given, &judgement, &found),
        },
    }
    // Behind a refusal the vCPU is half restored; leaving L2, KVM writes the shadow vmcs12 to L1's
    // memory (nested.c, nested_flush_cached_shadow_vmcs12), which must not come later.
    vcpu.set_nested_state(&NestedState::off()).expect("off");
}

/// What is read is taken again and read the same, and says what was set.
fn is_kept(vcpu: &KvmVcpu<'_>, given: &states::Given, context: &Context<'_>, tally: &mut Tally) {
    let first = vcpu.nested_state().expect("a nested state");
    if let Err(errno) = vcpu.set_nested_state(&first) {
        let judgement = judge(&first, context);
        let changes = tally::changes(&given.state, &first);
        let what = format!("what was read is refused: {errno}, {judgement:?}, {changes}");
        return tally.add(given, &what);
    }
    let second = vcpu.nested_state().expect("a nested state");
    if first.to_bytes() != second.to_bytes() {
        match known::drift(&tally::changed(&first, &second)) {
            Some(reason) => tally.known(reason),
            None => {
                let changes = tally::changes(&first, &second);
                tally.add(given, &format!("read, set and read again: {changes}"));
            }
        }
    }
    let header = |state: &NestedState| (state.vmxon(), state.current(), state.smm_flags());
    if given.state.vmxon().is_some() && header(&given.state) != header(&first) {
        let what = format!("{:?} became {:?}", header(&given.state), header(&first));
        tally.add(given, &what);
    }
}
