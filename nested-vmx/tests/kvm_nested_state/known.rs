// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where KVM and the judgement are known to differ, and why.

use nested_vmx::check::{Rule, Subject};
use nested_vmx::kvm::{Errno, Judgement, Refusal};
use nested_vmx::vmcs::Field;

use crate::states::Given;

/// L2's CR3 is refused without an error.
pub const NO_ERROR: &str = "nested.c, nested_vmx_enter_non_root_mode: for CR3 there is a positive \
                            number instead of an error, and errno is what it was";

/// Why the two differ here, if that is known.
pub fn reason(
    _given: &Given,
    judgement: &Judgement,
    found: &Result<(), Errno>,
) -> Option<&'static str> {
    match found {
        Ok(()) => {
            let mut reasons = judgement.refusals().iter().map(lets_pass);
            let first = reasons.next()??;
            reasons.all(|other| other.is_some()).then_some(first)
        }
        Err(_) => None,
    }
}

/// Why some KVM does not refuse this.
fn lets_pass(refusal: &Refusal) -> Option<&'static str> {
    let Refusal::Vmcs12(failure) = refusal else {
        return None;
    };
    match (failure.rule, failure.violation.subject) {
        (Rule::GuestDebugctl, Subject::Field(Field::GuestIa32Debugctl)) => Some(
            "nested.c, nested_vmx_check_guest_state: IA32_DEBUGCTL is looked at since Linux 6.17 \
             and in later stable kernels before it",
        ),
        _ => None,
    }
}

/// Why fields of a state that was read, set and read again are not the same, if that is known of all
/// of them.
pub fn drift(fields: &[Field]) -> Option<&'static str> {
    let mut reasons = fields.iter().map(|field| match field {
        Field::VmxPreemptionTimerValue => {
            Some("nested.c, sync_vmcs02_to_vmcs12: what is left of the timer is saved, and it runs")
        }
        Field::GuestIa32Efer => Some(
            "nested.c, nested_vmx_calc_efer: L2's IA32_EFER is the vCPU's (KVM_SET_SREGS), and only \
             with a pending entry vmcs12's",
        ),
        Field::GuestDr7 | Field::GuestIa32Debugctl => Some(
            "nested.c, prepare_vmcs02: L2's DR7 and IA32_DEBUGCTL are the vCPU's \
             (KVM_SET_DEBUGREGS, KVM_SET_MSRS), and only with a pending entry vmcs12's",
        ),
        _ => None,
    });
    let first = reasons.next()??;
    reasons.all(|reason| reason.is_some()).then_some(first)
}
