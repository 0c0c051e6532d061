// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Histories of a virtual processor with VMX: L1's and L2's instructions, exits, events and
//! migrations, on the model of a processor, with the books kept about every event.

use nested_vmx::model::{Exercise, Operation};

/// Some hundred things that happen. Longer histories take longer, and say nothing new.
const MAX_BYTES: usize = 256;

/// Lives through the history that the input is.
pub fn run(data: &[u8]) {
    let data = data.get(..MAX_BYTES).unwrap_or(data);
    let mut exercise = Exercise::new();
    let history = [Operation::Vmxon].into_iter();
    for operation in history.chain(Operation::history(data)) {
        if let Err(violation) = exercise.apply(operation) {
            panic!("after {operation:?}: {violation}");
        }
    }
}
