// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Operands in memory: some bytes, which can be in two pages.

use super::fault::PagingFault;
use super::rights::Access;
use super::state::PagingState;
use super::translate;
use crate::memory::{L1Memory, MemoryError};

/// The most bytes of an operand.
pub const LONGEST: usize = 4096;

/// The physical addresses of an operand's two parts, the second of which can be empty.
struct Parts {
    first: u64,
    /// Bytes of the first part.
    split: usize,
    second: u64,
}

/// Translates all of the operand, so that nothing is accessed if there is a fault anywhere.
fn parts(
    memory: &dyn L1Memory,
    state: &PagingState,
    linear: u64,
    length: usize,
    access: Access,
) -> Result<Parts, PagingFault> {
    const PAGE: u64 = 4096;
    if length > LONGEST {
        let address = linear;
        return Err(MemoryError { address, length }.into());
    }
    let in_page = usize::try_from(PAGE - linear % PAGE).unwrap_or(LONGEST);
    let split = length.min(in_page);
    let first = translate(memory, state, linear, access)?;
    let second = match split == length {
        true => 0,
        false => {
            // Outside IA-32e mode the address wraps at 4 GiB: only its low half is translated.
            let next = linear.wrapping_add(PAGE - linear % PAGE);
            translate(memory, state, next, access)?
        }
    };
    Ok(Parts {
        first,
        split,
        second,
    })
}

/// Reads an operand of at most [`LONGEST`] bytes.
///
/// # Errors
///
/// [`PagingFault`]
pub fn read(
    memory: &dyn L1Memory,
    state: &PagingState,
    linear: u64,
    into: &mut [u8],
) -> Result<(), PagingFault> {
    let parts = parts(memory, state, linear, into.len(), Access::Read)?;
    let (first, second) = into.split_at_mut(parts.split);
    memory.read(parts.first, first)?;
    match second.is_empty() {
        true => Ok(()),
        false => Ok(memory.read(parts.second, second)?),
    }
}

/// Writes an operand of at most [`LONGEST`] bytes.
///
/// # Errors
///
/// [`PagingFault`]; nothing was written for a page fault.
pub fn write(
    memory: &dyn L1Memory,
    state: &PagingState,
    linear: u64,
    from: &[u8],
) -> Result<(), PagingFault> {
    let parts = parts(memory, state, linear, from.len(), Access::Write)?;
    let (first, second) = from.split_at(parts.split);
    memory.write(parts.first, first)?;
    match second.is_empty() {
        true => Ok(()),
        false => Ok(memory.write(parts.second, second)?),
    }
}
