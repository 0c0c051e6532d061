// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The walk from CR3 to the entry that maps a page (SDM volume 3, sections 5.3 to 5.5).

use super::entry::Entry;
use super::fault::{Cause, PageFault, PagingFault};
use super::mode::{Mode, Target};
use super::rights::Access;
use super::state::PagingState;
use crate::memory::L1Memory;

/// The most levels of a mode.
const LEVELS: usize = 5;

/// An entry that the walk used.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// Where the aligned 8 bytes are that it is in. They are read, and exchanged, in one.
    pub(super) address: u64,
    /// These 8 bytes.
    pub(super) quadword: u64,
    /// How many bits below it they have: 0, or 32 for every other entry of 32-bit paging.
    pub(super) shift: u32,
    pub(super) entry: Entry,
}

/// A walk that found a page.
pub(super) struct Path {
    /// The entries that it used, the one that maps the page behind the others.
    steps: [Option<Step>; LEVELS],
    /// The entry that maps the page.
    pub(super) leaf: Entry,
    /// The physical address.
    pub(super) physical: u64,
    /// R/W is 1 in all entries.
    pub(super) writable: bool,
    /// U/S is 1 in all entries.
    pub(super) user: bool,
    /// XD is 1 in an entry, and there is XD.
    pub(super) execute_disable: bool,
}

impl Path {
    /// The entries that reference tables, then the one that maps the page.
    pub(super) fn steps(&self) -> impl Iterator<Item = Step> {
        self.steps.into_iter().flatten()
    }
}

/// Walks. At most one entry a level is read, whatever the tables hold.
pub(super) fn walk(
    memory: &dyn L1Memory,
    state: &PagingState,
    mode: Mode,
    linear: u64,
    access: Access,
) -> Result<Path, PagingFault> {
    let fault = |cause| PagingFault::from(PageFault::new(state, linear, access, cause));
    let mut table = root(state, mode, linear).ok_or(fault(Cause::NotPresent))?;
    let mut steps = [None; LEVELS];
    let mut all = u64::MAX;
    let mut any = 0;
    for (level, slot) in mode.levels().iter().zip(&mut steps) {
        let step = read(memory, table | level.offset(mode, linear), mode)?;
        let entry = step.entry;
        *slot = Some(step);
        if !entry.has(Entry::PRESENT) {
            return Err(fault(Cause::NotPresent));
        }
        all &= entry.0;
        any |= entry.0;
        match level.target(entry, mode, state) {
            None => return Err(fault(Cause::Reserved)),
            Some(Target::Table(next)) => table = next,
            Some(Target::Page(page, bytes)) => {
                return Ok(Path {
                    steps,
                    leaf: entry,
                    physical: page | linear & (bytes - 1),
                    writable: all & Entry::WRITE != 0,
                    user: all & Entry::USER != 0,
                    execute_disable: state.has_execute_disable()
                        && any & Entry::EXECUTE_DISABLE != 0,
                });
            }
        }
    }
    // The last level maps pages only.
    Err(fault(Cause::NotPresent))
}

/// Where the topmost table is; `None` if the PDPTE is not present.
fn root(state: &PagingState, mode: Mode, linear: u64) -> Option<u64> {
    match mode {
        Mode::Bits32 => Some(state.cr3 & 0xffff_f000),
        Mode::FourLevel | Mode::FiveLevel => Some(state.cr3 & Entry::ADDRESS),
        Mode::Pae => {
            let number = usize::try_from(linear >> 30 & 3).unwrap_or_default();
            let pdpte = Entry(state.pdptes.get(number).copied()?);
            pdpte
                .has(Entry::PRESENT)
                .then_some(pdpte.0 & Entry::ADDRESS)
        }
    }
}

fn read(memory: &dyn L1Memory, address: u64, mode: Mode) -> Result<Step, PagingFault> {
    let aligned = address & !7;
    let quadword = memory.read_u64(aligned)?;
    let (shift, entry) = match mode {
        Mode::Bits32 => {
            let shift = if address & 4 == 0 { 0 } else { 32 };
            (shift, quadword >> shift & 0xffff_ffff)
        }
        Mode::Pae | Mode::FourLevel | Mode::FiveLevel => (0, quadword),
    };
    Ok(Step {
        address: aligned,
        quadword,
        shift,
        entry: Entry(entry),
    })
}
