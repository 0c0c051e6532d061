// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest's own paging: from linear to guest-physical addresses (SDM volume 3, chapter 5).
//!
//! [`translate`] makes one access to one byte as the processor does: with the checks of access
//! rights, and with accessed and dirty flags set. [`read()`] and [`write()`] make the access to an
//! operand.

mod entry;
mod fault;
mod flags;
mod mode;
mod operand;
mod rights;
mod state;
mod walk;

pub use fault::{PageFault, PagingFault};
pub use operand::{LONGEST, read, write};
pub use rights::Access;
pub use state::PagingState;

use crate::memory::L1Memory;
use flags::Marked;

/// How often a walk starts anew because entries changed under it.
const ATTEMPTS: usize = 8;

/// The guest-physical address that a linear address translates to, for this access. The address is
/// canonical; outside 64-bit mode only its low half counts.
///
/// # Errors
///
/// [`PagingFault`]; no dirty flag was set then.
pub fn translate(
    memory: &dyn L1Memory,
    state: &PagingState,
    linear: u64,
    access: Access,
) -> Result<u64, PagingFault> {
    let Some(mode) = state.mode() else {
        return Ok(linear & 0xffff_ffff);
    };
    let linear = linear & mode.linear_mask();
    for _ in 0..ATTEMPTS {
        let path = walk::walk(memory, state, mode, linear, access)?;
        if let Some(cause) = rights::refusal(state, mode, &path, access) {
            return Err(PageFault::new(state, linear, access, cause).into());
        }
        match flags::mark(memory, &path, access)? {
            Marked::Yes => return Ok(path.physical),
            Marked::Changed => {}
        }
    }
    Err(PagingFault::Changing)
}
