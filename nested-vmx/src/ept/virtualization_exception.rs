// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Virtualization exceptions in the place of EPT violations (SDM volume 3, section 27.5.7).

use super::fault::Violation;
use crate::controls::SecondaryControls;
use crate::exit_reason::ExitReason;
use crate::memory::{L1Memory, MemoryError};
use crate::registers::cr0;
use crate::vmcs::Vmcs;

/// Offset of the 32 bits that have to be 0 in the virtualization-exception information area.
const BUSY: u64 = 4;

/// A virtualization exception: the contents of its information area (SDM volume 3, table 27-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualizationException {
    /// The qualification that the EPT violation would have given.
    pub qualification: u64,
    /// The guest-linear address.
    pub guest_linear: u64,
    /// The guest-physical address.
    pub guest_physical: u64,
    /// The EPTP index.
    pub eptp_index: u16,
}

impl VirtualizationException {
    /// The vector of #VE.
    pub const VECTOR: u8 = 20;

    /// The virtualization exception that the processor delivers in the place of a VM exit for this
    /// EPT violation, if it does (SDM volume 3, section 27.5.7.1). `delivering` is whether the
    /// violation occurred while an event was delivered through the IDT. The guest's CR0 is taken
    /// from the vmcs12.
    ///
    /// # Errors
    ///
    /// [`MemoryError`], if the information area is not memory.
    pub fn instead_of(
        violation: &Violation,
        guest_linear: u64,
        delivering: bool,
        vmcs12: &Vmcs,
        memory: &dyn L1Memory,
    ) -> Result<Option<Self>, MemoryError> {
        let enabled = vmcs12
            .secondary()
            .contains(SecondaryControls::EPT_VIOLATION_VE);
        let protected = vmcs12.guest_cr0() & cr0::PE != 0;
        if !enabled || !violation.convertible || !protected || delivering {
            return Ok(None);
        }
        let area = vmcs12.ve_information_address();
        if memory.read_u32(area.wrapping_add(BUSY))? != 0 {
            return Ok(None);
        }
        Ok(Some(Self {
            qualification: violation.qualification,
            guest_linear,
            guest_physical: violation.guest_physical,
            eptp_index: vmcs12.eptp_index(),
        }))
    }

    /// Writes the information area at this physical address; from then on it is busy. The exception,
    /// with [`VECTOR`](Self::VECTOR) and no error code, follows (SDM volume 3, section 27.5.7.2).
    ///
    /// # Errors
    ///
    /// [`MemoryError`]; nothing was written.
    pub fn save(&self, area: u64, memory: &dyn L1Memory) -> Result<(), MemoryError> {
        let reason = u64::from(ExitReason::EPT_VIOLATION.0);
        let busy = 0xffff_ffff_u64 << 32;
        let mut bytes = [0; 34];
        let quadwords = [
            reason | busy,
            self.qualification,
            self.guest_linear,
            self.guest_physical,
        ];
        let (start, index) = bytes.split_at_mut(32);
        for (to, from) in start.chunks_exact_mut(8).zip(quadwords) {
            to.copy_from_slice(&from.to_le_bytes());
        }
        index.copy_from_slice(&self.eptp_index.to_le_bytes());
        memory.write(area, &bytes)
    }
}
