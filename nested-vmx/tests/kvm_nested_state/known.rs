// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where KVM and the judgement are known to differ, and why.

use nested_vmx::check::{Rule, Subject};
use nested_vmx::kvm::{Errno, Judgement, Refusal};
use nested_vmx::vmcs::Field;

use crate::states::Given;

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
            "nested.c, nested_vmx_check_guest_state: IA32_DEBUGCTL is looked at since Linux 6.17",
        ),
        _ => None,
    }
}
