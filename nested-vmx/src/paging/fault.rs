// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Page faults (SDM volume 3, section 5.7).

use thiserror::Error;

use super::rights::Access;
use super::state::PagingState;
use crate::memory::MemoryError;
use crate::registers::cr4;

/// A page-fault exception (#PF).
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
#[error("#PF at {address:#x}, error code {error_code:#x}")]
pub struct PageFault {
    /// The error code.
    pub error_code: u32,
    /// The linear address, for CR2.
    pub address: u64,
}

/// Why an access is not translated.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PagingFault {
    /// A page fault.
    #[error(transparent)]
    PageFault(#[from] PageFault),
    /// A paging structure, or the operand, is not memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The entries kept changing while they were used. The guest may try the instruction again.
    #[error("the paging structures keep changing")]
    Changing,
}

/// What a page fault is due to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    NotPresent,
    Reserved,
    Rights,
    ProtectionKey,
}

/// Bits of the error code (SDM volume 3, figure 5-12).
const PRESENT: u32 = 1 << 0;
const WRITE: u32 = 1 << 1;
const USER: u32 = 1 << 2;
const RESERVED: u32 = 1 << 3;
const FETCH: u32 = 1 << 4;
const PROTECTION_KEY: u32 = 1 << 5;

impl PageFault {
    /// That of an access.
    pub(super) const fn new(
        state: &PagingState,
        address: u64,
        access: Access,
        cause: Cause,
    ) -> Self {
        let cause = match cause {
            Cause::NotPresent => 0,
            Cause::Reserved => PRESENT | RESERVED,
            Cause::Rights => PRESENT,
            Cause::ProtectionKey => PRESENT | PROTECTION_KEY,
        };
        let tells_fetches = state.has_execute_disable() || state.cr4 & cr4::SMEP != 0;
        let access = match access {
            Access::Read => 0,
            Access::Write => WRITE,
            Access::Fetch if tells_fetches => FETCH,
            Access::Fetch => 0,
        };
        let user = if state.is_user() { USER } else { 0 };
        Self {
            error_code: cause | access | user,
            address,
        }
    }
}
