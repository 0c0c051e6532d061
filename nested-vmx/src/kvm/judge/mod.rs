// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What KVM_SET_NESTED_STATE would refuse, before it is asked.

mod case;
mod checked_by;
mod context;
mod header;
mod refusal;
mod rule;
mod vmcs12;

pub use checked_by::CheckedBy;
pub use context::Context;
pub use refusal::Refusal;
pub use rule::SetRule;

use alloc::vec::Vec;

use super::NestedState;
use super::state::STATE_SIZE;
use crate::check::Failure;
use case::Case;

/// What there is to say about a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    refusals: Vec<Refusal>,
    doubts: Vec<Failure>,
}

impl Judgement {
    /// All that KVM would refuse the state for, in the order in which it looks. KVM stops at the
    /// first.
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// What KVM lets pass and the processor does not, when L2 is entered next with the state as it
    /// is: guest state that is set behind the nested state (KVM_SET_REGS, KVM_SET_SREGS) can still
    /// mend it.
    pub fn doubts(&self) -> &[Failure] {
        &self.doubts
    }

    /// Whether KVM takes the state.
    pub fn is_accepted(&self) -> bool {
        self.refusals.is_empty()
    }

    /// Whether KVM takes it.
    ///
    /// # Errors
    ///
    /// The first [`Refusal`]: what KVM fails for.
    pub fn accepted(&self) -> Result<(), Refusal> {
        match self.refusals.first() {
            Some(refusal) => Err(*refusal),
            None => Ok(()),
        }
    }
}

/// Judges a state that a vCPU like this is to get. The state is not trusted: any bytes may be in it.
pub fn judge(state: &NestedState, context: &Context<'_>) -> Judgement {
    of_case(&Case {
        state,
        context,
        available: STATE_SIZE,
    })
}

/// Judges bytes, also when there are too few of them: then KVM would read beyond them.
pub fn judge_bytes(bytes: &[u8], context: &Context<'_>) -> Judgement {
    let available = bytes.len();
    match NestedState::from_start(bytes) {
        Some(state) => of_case(&Case {
            state: &state,
            context,
            available,
        }),
        None => Judgement {
            refusals: alloc::vec![Refusal::State {
                rule: SetRule::HeaderReadable,
                found: available as u64,
            }],
            doubts: Vec::new(),
        },
    }
}

fn of_case(case: &Case<'_>) -> Judgement {
    let mut refusals: Vec<Refusal> = SetRule::ALL
        .iter()
        .filter_map(|&rule| {
            let found = rule.check(case)?;
            Some(Refusal::State { rule, found })
        })
        .collect();
    let (refused, doubts) = vmcs12::failures(case);
    refusals.extend(refused.into_iter().map(Refusal::Vmcs12));
    Judgement { refusals, doubts }
}
