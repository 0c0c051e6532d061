// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The order of a restore.

use nested_vmx::kvm::{Cause, Context, NestedState, RestorePlan, SmmFlags, Step, VcpuState};

use crate::port::{FakeVcpu, MSRS};
use crate::states::{capabilities, current};

/// A vCPU with this nested state, read.
fn read(nested: NestedState, smm: bool) -> VcpuState {
    let vcpu = FakeVcpu::default();
    vcpu.nested.replace(nested);
    vcpu.smm.set(smm.into());
    vcpu.tsc_deadline.set(99);
    VcpuState::get(&vcpu, &MSRS).expect("a vCPU")
}

#[test]
fn each_step_comes_behind_what_it_needs() {
    for (at, step) in Step::ALL.iter().enumerate() {
        for needed in step.after() {
            let before = Step::ALL[..at].contains(&needed.step);
            assert!(before, "{step} comes before {}", needed.step);
            assert!(!needed.reason.is_empty() && !needed.reason.ends_with('.'));
        }
        assert!(!step.what().is_empty() && step.ioctl().starts_with("KVM_SET_"));
    }
}

#[test]
fn what_was_read_is_restored_in_order() {
    let state = read(current().in_guest_mode(true), false);
    assert!(state.whereabouts().run_pending);
    assert_eq!(state.capability_msrs.len(), 13);
    let plan = RestorePlan::new(&state);
    let vcpu = FakeVcpu::default();
    plan.perform(&vcpu).expect("a restore");
    let steps: Vec<Step> = plan.steps().collect();
    assert_eq!(*vcpu.steps.borrow(), steps);
    assert_eq!(steps.len(), Step::ALL.len() - 2, "without SMM and XSAVE");
    assert!(*vcpu.nested.borrow() == state.nested);
    assert_eq!(vcpu.tsc_deadline.get(), 99);
    assert_eq!(VcpuState::get(&vcpu, &MSRS), Ok(state));
}

#[test]
fn smm_is_entered_before_the_nested_state() {
    let mut nested = current();
    nested.set_smm_flags(SmmFlags::all());
    let state = read(nested, true);
    let vcpu = FakeVcpu::default();
    RestorePlan::new(&state).perform(&vcpu).expect("a restore");
    assert!(vcpu.steps.borrow().contains(&Step::Smm));
    assert!(*vcpu.nested.borrow() == state.nested, "it was thrown away");
}

#[test]
fn a_state_that_would_be_refused_is_not_begun_with() {
    let mut nested = current();
    nested.set_vmxon(Some(1));
    let state = read(nested, false);
    let capabilities = capabilities();
    let vcpu = FakeVcpu::default();
    let plan = RestorePlan::new(&state).judged_by(Context::new(&capabilities));
    let error = plan.perform(&vcpu).expect_err("a refusal");
    assert!(matches!(error.cause, Cause::Refused(_)));
    assert!(error.to_string().contains("VMXON region"), "{error}");
    assert!(vcpu.steps.borrow().is_empty());
}

#[test]
fn what_is_not_there_is_left_out() {
    let mut state = read(NestedState::off(), false);
    state.lapic = None;
    state.xcrs.nr_xcrs = 0;
    state.msrs.clear();
    state.capability_msrs.clear();
    let steps: Vec<Step> = RestorePlan::new(&state).steps().collect();
    for step in [
        Step::Lapic,
        Step::Msrs,
        Step::CapabilityMsrs,
        Step::Smm,
        Step::Xcrs,
    ] {
        assert!(!steps.contains(&step));
    }
    // Where KVM has no nested virtualization, nothing is asked of it.
    assert!(!steps.contains(&Step::NestedState));
    RestorePlan::new(&state)
        .perform(&FakeVcpu::default())
        .expect("a restore");
}
