// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Any bytes as KVM's nested state: read, judged, explained and written; and states that are good
//! but for one rule, or for some bytes.
//!
//! The first byte says which, and what the vCPU is like.

use std::sync::LazyLock;

use arbitrary::Unstructured;
use kvm_bindings::kvm_vcpu_events;
use kvm_bindings::nested::KvmNestedStateBuffer;
use nested_vmx::capability::{Capabilities, Processor};
use nested_vmx::check::Rule;
use nested_vmx::generate::Scenario;
use nested_vmx::kvm::{
    CheckedBy, Context, Judgement, NestedState, Refusal, STATE_SIZE, Waiting, judge, judge_bytes,
};
use nested_vmx::memory::L1Memory;
use nested_vmx::vmcs::Vmcs;

static CAPABILITIES: LazyLock<Capabilities> =
    LazyLock::new(|| Capabilities::software(Processor::new(46)));

/// Where the VMXON region is: nowhere near what a scenario has.
const VMXON: u64 = 0x3fff_ffff_f000;

/// Makes a state from `data`, and judges it.
pub fn run(data: &[u8]) {
    let [how, data @ ..] = data else {
        return;
    };
    let mut context = Context::new(&CAPABILITIES).with_smm(how & 4 != 0);
    context.enlightened_vmcs = how & 8 != 0;
    context.vmx_in_cpuid = how & 16 == 0;
    match how & 3 {
        0 | 1 => bytes(data, &context),
        2 => valid(data, how & 32 != 0),
        _ => broken(data),
    }
}

/// Bytes as they are.
fn bytes(data: &[u8], context: &Context<'_>) {
    let judgement = judge_bytes(data, context);
    consistent(&judgement);
    let Ok(state) = NestedState::from_bytes(data) else {
        return;
    };
    assert_eq!(judge(&state, context), judgement);
    round_trip(&state);
    assert_eq!(state.to_bytes(), data[..state.length()]);
    explain(&state, data);
}

fn round_trip(state: &NestedState) {
    let buffer = KvmNestedStateBuffer::from(state);
    assert!(NestedState::from(&buffer) == *state);
    let bytes = state.to_bytes();
    assert_eq!(bytes.len(), state.length());
    assert!(NestedState::from_bytes(&bytes).is_ok_and(|read| read.to_bytes() == bytes));
}

/// What is said is said of a rule that KVM checks, with words.
fn consistent(judgement: &Judgement) {
    assert_eq!(
        judgement.accepted().err(),
        judgement.refusals().first().copied()
    );
    assert_eq!(judgement.is_accepted(), judgement.refusals().is_empty());
    for refusal in judgement.refusals() {
        assert!(!refusal.to_string().is_empty() && !refusal.remedy().is_empty());
        if let Refusal::Vmcs12(failure) = refusal {
            assert!(matches!(failure.rule.checked_by(), CheckedBy::Kvm(_)));
        }
    }
    for doubt in judgement.doubts() {
        assert_eq!(doubt.rule.checked_by(), CheckedBy::Processor);
    }
}

/// Where it is, with any events: the same each time, and no panic.
fn explain(state: &NestedState, data: &[u8]) {
    let byte = |at: usize| data.get(at).copied().unwrap_or(0);
    let mut events = kvm_vcpu_events::default();
    events.exception.injected = byte(0) & 1;
    events.exception.nr = byte(1);
    events.nmi.injected = byte(0) >> 1 & 1;
    events.nmi.masked = byte(0) >> 2 & 1;
    events.interrupt.injected = byte(0) >> 3 & 1;
    events.interrupt.shadow = byte(2) & 3;
    events.smi.smm = byte(0) >> 4 & 1;
    let whereabouts = state.whereabouts(&events);
    assert!(!whereabouts.run_pending || state.is_run_pending());
    for waiting in [
        Waiting::ExternalInterrupt(byte(3)),
        Waiting::Nmi,
        Waiting::Smi,
        Waiting::Init,
        Waiting::Sipi(byte(3)),
        Waiting::MonitorTrap,
        Waiting::PreemptionTimer,
        Waiting::TripleFault,
    ] {
        let destination = state.destination(waiting, &events);
        assert_eq!(destination, state.destination(waiting, &events));
    }
}

/// A state with the scenario's L2 active.
fn active(scenario: &Scenario, run_pending: bool) -> Option<NestedState> {
    let address = scenario.address.filter(|&address| address != VMXON)?;
    let vmcs12 = scenario.vmcs12.clone();
    let mut state = NestedState::root(VMXON)
        .with_current(address, vmcs12)
        .in_guest_mode(run_pending);
    let mut shadow = Vmcs::new(0);
    let link = scenario.vmcs12.vmcs_link_pointer();
    if link != NestedState::NO_ADDRESS && scenario.memory.read(link, &mut [0; 4]).is_ok() {
        let _ = scenario.memory.read(link, shadow.as_bytes_mut());
    }
    state.set_shadow(Some(shadow));
    Some(state)
}

/// A valid state is accepted; then some bytes are overwritten.
fn valid(choices: &[u8], run_pending: bool) {
    let mut u = Unstructured::new(choices);
    let Some(scenario) = Scenario::arbitrary(&CAPABILITIES, &mut u) else {
        return;
    };
    let Some(state) = active(&scenario, run_pending) else {
        return;
    };
    let context = Context::new(&CAPABILITIES).with_memory(&scenario.memory);
    let judgement = judge(&state, &context);
    assert_eq!(judgement.refusals(), [], "{scenario:#x?}");
    assert_eq!(judgement.doubts(), [], "{scenario:#x?}");
    round_trip(&state);
    let mut bytes = state.to_bytes();
    while let Ok([high, low, value]) = u.arbitrary::<[u8; 3]>()
        && !u.is_empty()
    {
        let at = usize::from(u16::from_be_bytes([high, low])) % STATE_SIZE;
        bytes[at] = value;
    }
    self::bytes(&bytes, &context);
}

/// A state that breaks one rule is refused by whoever checks it.
fn broken(data: &[u8]) {
    let [rule, choices @ ..] = data else {
        return;
    };
    let rule = Rule::ALL[usize::from(*rule) % Rule::ALL.len()];
    let mut u = Unstructured::new(choices);
    let Some(scenario) = Scenario::before_breaking(rule, &CAPABILITIES, &mut u)
        .and_then(|valid| valid.break_rule(rule, &mut u))
    else {
        return;
    };
    let Some(state) = active(&scenario, true) else {
        return;
    };
    let context = Context::new(&CAPABILITIES).with_memory(&scenario.memory);
    let judgement = judge(&state, &context);
    consistent(&judgement);
    round_trip(&state);
    let refused = judgement
        .refusals()
        .iter()
        .any(|refusal| matches!(refusal, Refusal::Vmcs12(failure) if failure.rule == rule));
    let doubted = judgement
        .doubts()
        .iter()
        .any(|failure| failure.rule == rule);
    match rule.checked_by() {
        CheckedBy::Kvm(_) => assert!(refused, "{rule:?}: {judgement:?}"),
        CheckedBy::Processor => assert!(doubted, "{rule:?}: {judgement:?}"),
        CheckedBy::Nobody => assert!(!refused && !doubted, "{rule:?}: {judgement:?}"),
    }
}
