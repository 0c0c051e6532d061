// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Accessed and dirty flags (SDM volume 3, section 30.3.5).

use super::entry::Entry;
use super::fault::EptFault;
use super::log::PageModificationLog;
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

/// Sets the accessed flags of all entries of the walk, and for a write the dirty flag of the page,
/// which is logged where there is a log.
///
/// # Errors
///
/// [`EptFault::LogFull`], before any flag is set; [`EptFault::Memory`]
pub(super) fn mark(
    memory: &dyn L1Memory,
    path: &Path,
    guest_physical: u64,
    write: bool,
    log: Option<&mut PageModificationLog>,
) -> Result<Marked, EptFault> {
    let leaf = path.leaf.entry;
    let log = log.filter(|_| write && !leaf.has(Entry::DIRTY));
    // A full log leaves everything as it is, so that the access can come again.
    if let Some(log) = &log {
        log.prepare(memory, guest_physical)?;
    }
    for reference in path.references() {
        if set(memory, reference, Entry::ACCESSED)? == Marked::Changed {
            return Ok(Marked::Changed);
        }
    }
    let flags = match write {
        true => Entry::ACCESSED | Entry::DIRTY,
        false => Entry::ACCESSED,
    };
    let marked = set(memory, path.leaf, flags)?;
    if let (Marked::Yes, Some(log)) = (&marked, log) {
        log.advance();
    }
    Ok(marked)
}

/// Sets flags of an entry, if it is still what the walk saw.
fn set(memory: &dyn L1Memory, step: Step, flags: u64) -> Result<Marked, MemoryError> {
    let current = step.entry.0;
    if step.entry.has(flags) {
        return Ok(Marked::Yes);
    }
    let was = memory.compare_exchange(step.address, current, current | flags)?;
    Ok(match was == current {
        true => Marked::Yes,
        false => Marked::Changed,
    })
}
