// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `struct kvm_nested_state` (Linux, `Documentation/virt/kvm/api.rst`, KVM_GET_NESTED_STATE), as a
//! VMM writes it to a file, and what KVM would say to it.

use nested_vmx::capability::Capabilities;
use nested_vmx::kvm::{BytesError, Context, Judgement, NestedState, Refusal, judge};

use super::error::Problem;

/// Names of the flags that are set, and what is left.
pub fn names<F: bitflags::Flags<Bits: std::fmt::LowerHex>>(flags: F) -> Vec<String> {
    let mut names: Vec<String> = flags
        .iter_names()
        .map(|(name, _)| name.to_owned())
        .collect();
    let rest = flags.bits() & !F::all().bits();
    if rest != F::empty().bits() {
        names.push(format!("unknown {rest:#x}"));
    }
    names
}

/// Understands a file's bytes.
pub fn parse(bytes: &[u8]) -> Result<NestedState, Problem> {
    let state = NestedState::from_bytes(bytes).map_err(|error| match error {
        BytesError::NoHeader { length } => Problem::NoHeader(length),
        BytesError::CutOff { size, length } => Problem::CutOff {
            said: size,
            found: length,
        },
    })?;
    match state.format() {
        NestedState::FORMAT_VMX => Ok(state),
        format => Err(Problem::Format(format)),
    }
}

/// What KVM_SET_NESTED_STATE would say, for a vCPU with these capabilities that is in SMM if the
/// state says so.
pub fn judged(state: &NestedState, capabilities: &Capabilities) -> Judgement {
    let in_smm = !state.smm_flags().is_empty();
    judge(state, &Context::new(capabilities).with_smm(in_smm))
}

/// A refusal in words: the sentence, and what to do.
pub fn words(refusal: &Refusal) -> [String; 2] {
    [refusal.to_string(), refusal.remedy()]
}
