// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Random histories of a virtual processor: instructions, exits, events, migrations.
#![allow(clippy::expect_used, clippy::panic, reason = "a test may")]

use nested_vmx::model::{Exercise, Operation};
use proptest::prelude::*;

fn run(bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut exercise = Exercise::new();
    let mut history = Vec::new();
    // Most histories would spend their beginning outside VMX operation.
    for operation in [Operation::Vmxon]
        .into_iter()
        .chain(Operation::history(bytes))
    {
        history.push(operation);
        if let Err(violation) = exercise.apply(operation) {
            return Err(TestCaseError::fail(format!("{violation}\n{history:#?}")));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4096,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_invariants_hold(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        run(&bytes)?;
    }
}
