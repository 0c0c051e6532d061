// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The extended-page-table pointer (SDM volume 3, table 26-9).

use thiserror::Error;

use super::entry::MemoryType;
use crate::capability::{Capabilities, EptVpid};
use crate::memory::{L1Memory, MemoryError};

/// Why VM entries refuse an EPTP (SDM volume 3, section 28.2.1.1), and with it the EPTP-switching VM
/// function and INVEPT.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum EptpError {
    /// Bits 2:0 are not a memory type that IA32_VMX_EPT_VPID_CAP supports.
    #[error("the memory type of the EPT paging structures is not supported")]
    MemoryType,
    /// Bits 5:3 are not 3, or 4 where page walks of length 5 are supported.
    #[error("the EPT page-walk length is not supported")]
    WalkLength,
    /// Bit 6 is 1 without the support for accessed and dirty flags.
    #[error("accessed and dirty flags for EPT are not supported")]
    AccessedDirty,
    /// Bit 7 is 1 without the support for supervisor shadow-stack control.
    #[error("supervisor shadow-stack control is not supported")]
    ShadowStack,
    /// One of bits 11:8 or of those beyond the physical-address width is 1.
    #[error("a reserved bit is set")]
    ReservedBit,
}

/// An extended-page-table pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Eptp(pub u64);

impl Eptp {
    /// Bits 11:8.
    const RESERVED: u64 = 0xf00;

    /// How many entries an EPTP list has (SDM volume 3, section 27.5.6.3).
    pub const LIST_ENTRIES: u32 = 512;

    /// Bits 2:0: the memory type of the paging structures, if it is not a reserved one.
    pub const fn memory_type(self) -> Option<MemoryType> {
        MemoryType::from_number(self.0 & 7)
    }

    /// Bits 5:3 plus 1: how many levels of tables there are.
    pub const fn walk_length(self) -> u32 {
        (self.0 >> 3 & 7) as u32 + 1
    }

    /// Bit 6: there are accessed and dirty flags.
    pub const fn has_accessed_dirty(self) -> bool {
        self.0 >> 6 & 1 != 0
    }

    /// Bit 7: supervisor shadow-stack accesses are controlled.
    pub const fn has_shadow_stack_control(self) -> bool {
        self.0 >> 7 & 1 != 0
    }

    /// Bits 51:12: the address of the topmost table. INVEPT and cached translations tell EPTPs apart
    /// by it (SDM volume 3, section 30.4.2).
    pub const fn root(self) -> u64 {
        self.0 & 0x000f_ffff_ffff_f000
    }

    /// Whether it can be used.
    ///
    /// # Errors
    ///
    /// [`EptpError`], the first that applies in the order of the SDM.
    pub fn check(self, capabilities: &Capabilities) -> Result<(), EptpError> {
        let has = |capability| capabilities.ept_vpid.contains(capability);
        let supported = match self.memory_type() {
            Some(MemoryType::Uncacheable) => has(EptVpid::UC),
            Some(MemoryType::WriteBack) => has(EptVpid::WB),
            _ => false,
        };
        if !supported {
            return Err(EptpError::MemoryType);
        }
        let supported = match self.walk_length() {
            4 => has(EptVpid::WALK_4),
            5 => has(EptVpid::WALK_5),
            _ => false,
        };
        if !supported {
            return Err(EptpError::WalkLength);
        }
        if self.has_accessed_dirty() && !has(EptVpid::ACCESSED_DIRTY) {
            return Err(EptpError::AccessedDirty);
        }
        if self.has_shadow_stack_control() && !has(EptVpid::SUPERVISOR_SHADOW_STACK) {
            return Err(EptpError::ShadowStack);
        }
        let reserved = Self::RESERVED | capabilities.processor.beyond_physical();
        match self.0 & reserved {
            0 => Ok(()),
            _ => Err(EptpError::ReservedBit),
        }
    }

    /// The entry with this number in the EPTP list at `list`, for VM function 0; `None` where the
    /// list has no such entry. It is not checked.
    ///
    /// # Errors
    ///
    /// [`MemoryError`]
    pub fn from_list(
        memory: &dyn L1Memory,
        list: u64,
        number: u32,
    ) -> Result<Option<Self>, MemoryError> {
        if number >= Self::LIST_ENTRIES {
            return Ok(None);
        }
        let address = list.wrapping_add(u64::from(number) * 8);
        memory.read_u64(address).map(|value| Some(Self(value)))
    }
}
