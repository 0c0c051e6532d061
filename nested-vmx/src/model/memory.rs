// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! L1's physical memory: some bytes from 0 on.

use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;

use crate::memory::{L1Memory, MemoryError};

/// Memory from address 0 on; what is above it is no memory.
#[derive(Debug)]
pub struct ModelMemory {
    bytes: RefCell<Vec<u8>>,
}

impl ModelMemory {
    /// Memory of this many bytes, all 0.
    pub fn new(size: usize) -> Self {
        Self {
            bytes: RefCell::new(vec![0; size]),
        }
    }

    fn with<T>(
        &self,
        address: u64,
        length: usize,
        then: impl FnOnce(&mut [u8]) -> T,
    ) -> Result<T, MemoryError> {
        let mut bytes = self.bytes.borrow_mut();
        usize::try_from(address)
            .ok()
            .and_then(|start| bytes.get_mut(start..start.checked_add(length)?))
            .map(then)
            .ok_or(MemoryError { address, length })
    }
}

impl L1Memory for ModelMemory {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        self.with(address, into.len(), |bytes| into.copy_from_slice(bytes))
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), MemoryError> {
        self.with(address, from.len(), |bytes| bytes.copy_from_slice(from))
    }

    fn compare_exchange(&self, address: u64, current: u64, new: u64) -> Result<u64, MemoryError> {
        if !address.is_multiple_of(8) {
            return Err(MemoryError { address, length: 8 });
        }
        self.with(address, 8, |bytes| {
            let mut found = [0; 8];
            found.copy_from_slice(bytes);
            let found = u64::from_le_bytes(found);
            if found == current {
                bytes.copy_from_slice(&new.to_le_bytes());
            }
            found
        })
    }
}
