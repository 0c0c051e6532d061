// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Each rule of KVM_SET_NESTED_STATE, by itself; their order; and vmcs12's fields.

use std::collections::BTreeSet;

use nested_vmx::check::{Phase, Rule};
use nested_vmx::kvm::{
    CheckedBy, Context, HeaderFlags, NestedState, Refusal, SetRule, SmmFlags, StateFlags, judge,
    judge_bytes,
};
use nested_vmx::vmcs::{Field, Vmcs};

use crate::states::{capabilities, current, without_vmcs12};

/// The rules of the header that are broken.
fn broken(state: &NestedState, context: &Context<'_>) -> Vec<SetRule> {
    rules(judge(state, context).refusals())
}

fn rules(refusals: &[Refusal]) -> Vec<SetRule> {
    refusals
        .iter()
        .filter_map(|refusal| match refusal {
            Refusal::State { rule, .. } => Some(*rule),
            Refusal::Vmcs12(_) => None,
        })
        .collect()
}

/// A state that breaks the rule, a vCPU, and the other rules that are broken with it.
fn breaking<'a>(rule: SetRule, vcpu: Context<'a>) -> Option<(NestedState, Context<'a>)> {
    let mut state = current();
    let mut vcpu = vcpu;
    match rule {
        SetRule::HeaderReadable | SetRule::Vmcs12Readable | SetRule::ShadowReadable => return None,
        SetRule::Size => state.set_size(127),
        SetRule::Flags => state.set_flags(StateFlags::from_bits_retain(1 << 15)),
        SetRule::RunPending => state.set_flags(StateFlags::RUN_PENDING),
        SetRule::Format => state.set_format(1),
        SetRule::OffSmm => {
            state = NestedState::off();
            state.set_smm_flags(SmmFlags::VMXON);
            vcpu.in_smm = true;
        }
        SetRule::OffCurrent => {
            state = NestedState::off();
            state.set_current(Some(0x2000));
        }
        SetRule::OffFlags => {
            state = NestedState::off();
            state.set_flags(StateFlags::MTF_PENDING);
        }
        SetRule::VmxInCpuid => vcpu.vmx_in_cpuid = false,
        SetRule::VmxonAddress => state.set_vmxon(Some(1 << 40)),
        SetRule::SmmGuestMode => {
            state = state.in_guest_mode(false);
            state.set_smm_flags(SmmFlags::all());
            vcpu.in_smm = true;
        }
        SetRule::SmmFlags => {
            state.set_smm_flags(SmmFlags::from_bits_retain(4));
            vcpu.in_smm = true;
        }
        SetRule::HeaderFlags => state.set_header_flags(HeaderFlags::from_bits_retain(2)),
        SetRule::InSmm => {
            state = state.in_guest_mode(true);
            vcpu.in_smm = true;
        }
        SetRule::OutsideSmm => state.set_smm_flags(SmmFlags::VMXON),
        SetRule::SmmVmxon => {
            state.set_smm_flags(SmmFlags::GUEST_MODE);
            vcpu.in_smm = true;
        }
        SetRule::Evmcs => state.set_flags(StateFlags::EVMCS),
        SetRule::ShortGuestMode => state = without_vmcs12().in_guest_mode(false),
        SetRule::ShortEvmcs => {
            state = without_vmcs12();
            state.set_flags(StateFlags::EVMCS);
            vcpu.enlightened_vmcs = true;
        }
        SetRule::ShortCurrent => state.set_size(128 + 997),
        SetRule::SameRegion => state.set_current(Some(0x1000)),
        SetRule::CurrentAddress => state.set_current(Some(0x2008)),
        SetRule::NoCurrent => state.set_current(None),
        SetRule::Revision => state.vmcs12_mut().expect("vmcs12").set_header(1, false),
        SetRule::ShadowSize => state = linked(),
        SetRule::ShadowHeader => {
            state = linked();
            state.set_size(8320);
        }
    }
    Some((state, vcpu))
}

/// VMCS shadowing with a link pointer, and no shadow VMCS.
fn linked() -> NestedState {
    let mut state = current().in_guest_mode(false);
    let vmcs12 = state.vmcs12_mut().expect("vmcs12");
    let primary = vmcs12.read(Field::CpuBasedVmExecControl) | 1 << 31;
    vmcs12.write(Field::CpuBasedVmExecControl, primary);
    vmcs12.write(Field::SecondaryVmExecControl, 1 << 14);
    vmcs12.write(Field::VmcsLinkPointer, 0x5000);
    state
}

#[test]
fn each_rule_is_broken_by_itself() {
    let capabilities = capabilities();
    let vcpu = Context::new(&capabilities);
    for good in [current(), NestedState::off(), without_vmcs12()] {
        assert_eq!(broken(&good, &vcpu), []);
    }
    for &rule in SetRule::ALL {
        let Some((state, vcpu)) = breaking(rule, vcpu) else {
            continue;
        };
        let expected = match rule {
            // Where there is no size, there is no vmcs12 for the address.
            SetRule::Size => vec![rule, SetRule::ShortCurrent],
            SetRule::SmmGuestMode => vec![rule, SetRule::InSmm],
            _ => vec![rule],
        };
        assert_eq!(broken(&state, &vcpu), expected, "{}", rule.id());
    }
}

#[test]
fn bytes_that_are_not_there() {
    let capabilities = capabilities();
    let vcpu = Context::new(&capabilities);
    let judge = |bytes: &[u8]| rules(judge_bytes(bytes, &vcpu).refusals());
    let state = current().to_bytes();
    assert_eq!(judge(&state), []);
    assert_eq!(judge(&state[..127]), [SetRule::HeaderReadable]);
    assert_eq!(judge(&state[..128]), [SetRule::Vmcs12Readable]);
    // KVM reads no more of it.
    assert_eq!(judge(&state[..128 + 998]), []);
    let mut with_shadow = linked();
    with_shadow.set_shadow(Some(Vmcs::new(0)));
    let bytes = with_shadow.to_bytes();
    assert_eq!(judge(&bytes), []);
    assert_eq!(judge(&bytes[..4224]), [SetRule::ShadowReadable]);
}

#[test]
fn identifiers_are_unique_and_texts_are_sentences() {
    let ids: BTreeSet<&str> = SetRule::ALL.iter().map(|rule| rule.id()).collect();
    assert_eq!(ids.len(), SetRule::ALL.len());
    for rule in SetRule::ALL {
        assert!(!rule.requirement().ends_with('.'), "{}", rule.id());
        assert!(!rule.remedy().ends_with('.'), "{}", rule.id());
        assert!(Rule::from_id(rule.id()).is_none(), "{}", rule.id());
    }
}

#[test]
fn traces_are_left_from_the_point_on_where_vmx_operation_is_left() {
    let traces = |rule| Refusal::State { rule, found: 0 }.leaves_traces();
    let first = SetRule::ALL.iter().position(|&rule| traces(rule));
    let evmcs = SetRule::ALL.iter().position(|&rule| rule == SetRule::Evmcs);
    assert_eq!(first, evmcs.map(|at| at + 1));
    assert!(SetRule::ALL.is_sorted_by_key(|&rule| traces(rule)));
}

/// An active L2 with this field changed.
fn active(run_pending: bool, field: Field, value: u64) -> NestedState {
    let mut state = current().in_guest_mode(run_pending);
    state.vmcs12_mut().expect("vmcs12").write(field, value);
    state
}

fn failed(state: &NestedState) -> (Vec<Rule>, Vec<Rule>) {
    let capabilities = capabilities();
    let judgement = judge(state, &Context::new(&capabilities));
    let refused = judgement.refusals().iter().filter_map(|refusal| {
        let Refusal::Vmcs12(failure) = refusal else {
            return None;
        };
        Some(failure.rule)
    });
    let doubts = judgement.doubts().iter().map(|failure| failure.rule);
    (refused.collect(), doubts.collect())
}

#[test]
fn kvm_refuses_and_the_processor_does() {
    for run_pending in [false, true] {
        let good = current().in_guest_mode(run_pending);
        assert_eq!(failed(&good), (vec![], vec![]));
        let state = active(run_pending, Field::HostCr3, 1 << 45);
        assert_eq!(failed(&state), (vec![Rule::HostCr3], vec![]));
        let state = active(run_pending, Field::GuestRflags, 0);
        assert_eq!(failed(&state), (vec![], vec![Rule::Rflags]));
        let state = active(run_pending, Field::GuestCr3, 1 << 45);
        assert_eq!(failed(&state), (vec![Rule::GuestCr3], vec![]));
    }
}

#[test]
fn what_is_used_once_counts_only_with_a_pending_entry() {
    // An external interrupt while RFLAGS.IF is 0.
    let inject = |pending| active(pending, Field::VmEntryIntrInfoField, 0x8000_0040);
    assert_eq!(failed(&inject(true)), (vec![], vec![Rule::RflagsIf]));
    assert_eq!(failed(&inject(false)), (vec![], vec![]));
    // KVM checks the information itself in any case.
    let reserved = |pending| active(pending, Field::VmEntryIntrInfoField, 0x8000_1040);
    for pending in [false, true] {
        assert_eq!(failed(&reserved(pending)).0, [Rule::InjectedReserved]);
    }
    // IA32_EFER is loaded once.
    let efer = |pending| {
        let mut state = active(pending, Field::GuestIa32Efer, 1 << 63);
        let vmcs12 = state.vmcs12_mut().expect("vmcs12");
        let controls = vmcs12.read(Field::VmEntryControls) | 1 << 15;
        vmcs12.write(Field::VmEntryControls, controls);
        state
    };
    assert_eq!(failed(&efer(true)), (vec![Rule::GuestEfer], vec![]));
    assert_eq!(failed(&efer(false)), (vec![], vec![]));
}

#[test]
fn nothing_is_asked_of_a_vmcs_that_does_not_run() {
    let capabilities = capabilities();
    let mut state = current();
    *state.vmcs12_mut().expect("vmcs12") = Vmcs::from_bytes([0xff; 4096]);
    let vmcs12 = state.vmcs12_mut().expect("vmcs12");
    vmcs12.set_header(nested_vmx::vmcs::KVM_REVISION, true);
    let judgement = judge(&state, &Context::new(&capabilities));
    assert!(judgement.is_accepted() && judgement.doubts().is_empty());
}

#[test]
fn refusals_are_in_kvms_order() {
    let capabilities = capabilities();
    let mut state = current().in_guest_mode(true);
    *state.vmcs12_mut().expect("vmcs12") = Vmcs::from_bytes([0x5a; 4096]);
    let vmcs12 = state.vmcs12_mut().expect("vmcs12");
    vmcs12.set_header(nested_vmx::vmcs::KVM_REVISION, false);
    let (refused, doubts) = failed(&state);
    assert!(
        refused.len() > 20 && doubts.len() > 5,
        "{refused:?} {doubts:?}"
    );
    let phase = |rule: &Rule| rule.phase();
    assert!(refused.is_sorted_by_key(phase));
    assert_eq!(refused.last(), Some(&Rule::GuestCr3));
    for rule in refused {
        assert!(matches!(rule.checked_by(), CheckedBy::Kvm(_)));
        assert_ne!(rule.phase(), Phase::Basic);
    }
    let context = Context::new(&capabilities);
    let judgement = judge(&state, &context);
    for refusal in judgement.refusals() {
        assert!(refusal.to_string().contains("EINVAL"), "{refusal}");
        assert!(!refusal.remedy().is_empty() && refusal.leaves_traces());
    }
}
