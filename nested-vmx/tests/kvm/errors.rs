// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Errors name the step, KVM's error, what it means there, and what to do.

use std::error::Error;

use nested_vmx::kvm::{
    Action, Cause, Errno, Msr, RestorePlan, Step, StepError, VcpuPort, VcpuState,
};

use crate::port::{FakeVcpu, MSRS};
use crate::states::current;

fn state() -> VcpuState {
    let vcpu = FakeVcpu::default();
    vcpu.nested.replace(current());
    VcpuState::get(&vcpu, &MSRS).expect("a vCPU")
}

#[test]
fn each_step_that_fails_is_named() {
    let state = state();
    for step in RestorePlan::new(&state).steps() {
        for errno in [Errno::EINVAL, Errno::EBUSY, Errno::EFAULT, Errno(517)] {
            let vcpu = FakeVcpu {
                fails: Some((step, errno)),
                ..FakeVcpu::default()
            };
            let error = RestorePlan::new(&state)
                .perform(&vcpu)
                .expect_err("it fails");
            assert_eq!((error.step, error.action), (step, Action::Write));
            assert_eq!((error.cause, error.errno()), (Cause::Errno(errno), errno));
            let text = error.to_string();
            let name = errno.name().unwrap_or("errno 517");
            for part in [
                step.what(),
                step.ioctl(),
                name,
                error.meaning(),
                &error.remedy(),
            ] {
                assert!(text.contains(part), "{text:?} has no {part:?}");
            }
            assert!(error.source().is_some());
            // What came before is done, and nothing else.
            assert!(!vcpu.steps.borrow().contains(&step));
            assert!(vcpu.steps.borrow().iter().all(|&done| done < step));
        }
    }
}

#[test]
fn an_msr_that_is_refused_is_named() {
    let state = state();
    let vcpu = FakeVcpu {
        refuses_msr: Some(0x485),
        ..FakeVcpu::default()
    };
    let error = RestorePlan::new(&state)
        .perform(&vcpu)
        .expect_err("it fails");
    assert_eq!(error.step, Step::CapabilityMsrs);
    assert!(matches!(error.cause, Cause::Msr(Msr { index: 0x485, .. })));
    assert!(
        error.to_string().contains("IA32_VMX_MISC (0x485)"),
        "{error}"
    );

    // A vCPU in VMX operation takes no capability MSR.
    let busy = FakeVcpu::default();
    busy.set_nested_state(&current()).expect("a state");
    let error = RestorePlan::new(&state)
        .perform(&busy)
        .expect_err("it fails");
    let text = error.to_string();
    assert!(text.contains("in VMX operation already"), "{text}");
}

#[test]
fn what_cannot_be_read_is_named_or_left_out() {
    let vcpu = FakeVcpu {
        refuses_msr: Some(0x176),
        ..FakeVcpu::default()
    };
    let state = VcpuState::get(&vcpu, &MSRS).expect("a vCPU");
    assert!(state.msrs.iter().all(|msr| msr.index != 0x176));
    assert_eq!(state.msrs.len(), 1);

    let error = StepError {
        action: Action::Read,
        step: Step::Lapic,
        cause: Cause::Errno(Errno::EIO),
    };
    assert!(error.to_string().contains("cannot be read: EIO"), "{error}");
}

#[test]
fn errors_have_names() {
    assert_eq!(Errno::EBUSY.to_string(), "EBUSY");
    assert_eq!(Errno(517).to_string(), "errno 517");
    assert_eq!(Errno::from(kvm_ioctls::Error::new(22)), Errno::EINVAL);
}
