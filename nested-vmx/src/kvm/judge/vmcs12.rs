// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The fields of vmcs12, by the rules of VM entry.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::case::Case;
use super::checked_by::CheckedBy;
use crate::check::{EntryRequest, Failure, L1State, Phase, Rule};
use crate::controls::ExitControls;
use crate::registers::efer;
use crate::vmcs::{Field, Vmcs};

/// What KVM refuses, in the order of its functions, and what the processor would.
pub(super) fn failures(case: &Case<'_>) -> (Vec<Failure>, Vec<Failure>) {
    let Some(vmcs12) = case.active_vmcs12() else {
        return (Vec::new(), Vec::new());
    };
    let mut refused: Vec<Failure> = request(case, vmcs12)
        .check_all()
        .filter(|failure| is_kvms(case, failure.rule))
        .collect();
    // Stable: within a function the order is that of the rules.
    refused.sort_by_key(|failure| order(failure.rule));
    let request_of_processor = processors(case, vmcs12);
    let doubts = request(case, &request_of_processor)
        .check_all()
        .filter(|failure| failure.rule.checked_by() == CheckedBy::Processor)
        .collect();
    (refused, doubts)
}

fn request<'a>(case: &Case<'a>, vmcs12: &'a Vmcs) -> EntryRequest<'a> {
    // What mode L1 is in, nobody asks: L1 runs with what its VM exits will give it.
    let is_64_bit = vmcs12
        .exit()
        .contains(ExitControls::HOST_ADDRESS_SPACE_SIZE);
    let efer = if is_64_bit { efer::LME | efer::LMA } else { 0 };
    let l1 = L1State::new(vmcs12.host_cr0(), vmcs12.host_cr4(), efer);
    EntryRequest {
        current: case.state.current(),
        memory: case.context.memory,
        ..EntryRequest::new(case.context.capabilities, vmcs12, l1)
    }
}

/// KVM checks the rule, as the state stands.
fn is_kvms(case: &Case<'_>, rule: Rule) -> bool {
    let is_used = rule != Rule::GuestEfer || case.state.is_run_pending();
    is_used && matches!(rule.checked_by(), CheckedBy::Kvm(_))
}

/// vmcs12 as the processor will see it: what it injects is used up once L2 has been entered.
fn processors(case: &Case<'_>, vmcs12: &Vmcs) -> Box<Vmcs> {
    let mut seen = Box::new(vmcs12.clone());
    if !case.state.is_run_pending() {
        seen.write(Field::VmEntryIntrInfoField, 0);
    }
    seen
}

/// CR3 is looked at last, when L2 is entered.
const fn order(rule: Rule) -> (Phase, bool) {
    (rule.phase(), matches!(rule, Rule::GuestCr3))
}
