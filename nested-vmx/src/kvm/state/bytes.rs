// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Bytes, as a VMM keeps them in a snapshot.

use alloc::boxed::Box;
use alloc::vec::Vec;

use thiserror::Error;

use super::layout::{HEADER_SIZE, STATE_SIZE, WHOLE_VMCS12};
use super::{NestedState, layout};
use crate::vmcs::{REGION_SIZE, Vmcs};

/// Why bytes are no nested state.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BytesError {
    /// There are fewer than the header has.
    #[error("a nested state begins with a header of {HEADER_SIZE} bytes, but there are {length}")]
    NoHeader {
        /// How many bytes there are.
        length: usize,
    },
    /// There are fewer than the header says.
    #[error("the header says {size} bytes, but there are {length}: the state is cut off")]
    CutOff {
        /// What the header says.
        size: u32,
        /// How many bytes there are.
        length: usize,
    },
}

/// A region from the bytes that there are of it, and zeros.
fn region(bytes: &[u8]) -> Box<Vmcs> {
    let mut region = [0; REGION_SIZE];
    for (to, from) in region.iter_mut().zip(bytes) {
        *to = *from;
    }
    Box::new(Vmcs::from_bytes(region))
}

impl NestedState {
    /// The state that begins these bytes; bytes behind its size are ignored. Nothing else is
    /// checked: [`judge`](crate::kvm::judge) does that.
    ///
    /// # Errors
    ///
    /// [`BytesError`], if there are too few bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BytesError> {
        let length = bytes.len();
        let state = Self::from_start(bytes).ok_or(BytesError::NoHeader { length })?;
        let size = state.size();
        match length < state.length() {
            true => Err(BytesError::CutOff { size, length }),
            false => Ok(state),
        }
    }

    /// The state as far as there are bytes of it. What is missing is 0.
    pub(in crate::kvm) fn from_start(bytes: &[u8]) -> Option<Self> {
        let (&header, data) = bytes.split_first_chunk()?;
        let mut state = Self {
            header,
            vmcs12: region(&[]),
            shadow_vmcs12: region(&[]),
        };
        let inside = state.length().saturating_sub(HEADER_SIZE);
        let data = data.get(..inside).unwrap_or(data);
        let (vmcs12, shadow) = data.split_at_checked(REGION_SIZE).unwrap_or((data, &[]));
        state.vmcs12 = region(vmcs12);
        state.shadow_vmcs12 = region(shadow);
        Some(state)
    }

    /// How many bytes [`NestedState::to_bytes`] gives: its size, but a header at least, and what
    /// there can be at most.
    pub fn length(&self) -> usize {
        let size = u32::from_le_bytes(self.get(layout::SIZE));
        usize::try_from(size)
            .unwrap_or(STATE_SIZE)
            .clamp(HEADER_SIZE, STATE_SIZE)
    }

    /// Its bytes: what [`NestedState::from_bytes`] read.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(STATE_SIZE);
        bytes.extend_from_slice(&self.header);
        if self.length() > HEADER_SIZE {
            bytes.extend_from_slice(self.vmcs12.as_bytes());
        }
        if self.length() > WHOLE_VMCS12 {
            bytes.extend_from_slice(self.shadow_vmcs12.as_bytes());
        }
        bytes.truncate(self.length());
        bytes
    }
}
