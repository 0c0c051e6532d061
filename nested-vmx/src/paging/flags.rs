// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Accessed and dirty flags (SDM volume 3, section 5.8).

use super::entry::Entry;
use super::rights::Access;
use super::walk::{Path, Step};
use crate::memory::{L1Memory, MemoryError};

/// What became of setting flags.
#[derive(PartialEq, Eq)]
pub(super) enum Marked {
    /// They are set.
    Yes,
    /// An entry is no longer what the walk saw: it has to start anew.
    Changed,
}

/// Sets the accessed flags of all entries of the walk, and for a write the dirty flag of the page.
pub(super) fn mark(
    memory: &dyn L1Memory,
    path: &Path,
    access: Access,
) -> Result<Marked, MemoryError> {
    let mut steps = path.steps().peekable();
    while let Some(step) = steps.next() {
        let is_leaf = steps.peek().is_none();
        let flags = match is_leaf && access == Access::Write {
            true => Entry::ACCESSED | Entry::DIRTY,
            false => Entry::ACCESSED,
        };
        if set(memory, &step, flags)? == Marked::Changed {
            return Ok(Marked::Changed);
        }
    }
    Ok(Marked::Yes)
}

/// Sets flags of an entry, if it and what is in the same 8 bytes are still what the walk saw.
fn set(memory: &dyn L1Memory, step: &Step, flags: u64) -> Result<Marked, MemoryError> {
    if step.entry.has(flags) {
        return Ok(Marked::Yes);
    }
    let new = step.quadword | flags << step.shift;
    let was = memory.compare_exchange(step.address, step.quadword, new)?;
    Ok(match was == step.quadword {
        true => Marked::Yes,
        false => Marked::Changed,
    })
}
