// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! L1's memory: some pages at 0 that KVM sees too.

use std::cell::Cell;

use nested_vmx::memory::{L1Memory, MemoryError};

const PAGE: usize = 4096;

/// Pages of L1.
const PAGES: usize = 16;

/// Memory that lives as long as the process, since KVM has its address.
pub struct Memory {
    bytes: &'static [Cell<u8>],
}

impl Memory {
    pub const SIZE: usize = PAGES * PAGE;

    pub fn new() -> Self {
        let raw = Box::leak(vec![Cell::new(0_u8); Self::SIZE + PAGE].into_boxed_slice());
        let skip = raw.as_ptr().align_offset(PAGE);
        Self {
            bytes: raw.get(skip..skip + Self::SIZE).expect("enough"),
        }
    }

    /// Where it is in this process.
    pub fn host_address(&self) -> u64 {
        self.bytes.as_ptr().addr() as u64
    }

    fn cells(&self, address: u64, length: usize) -> Result<&[Cell<u8>], MemoryError> {
        let start = usize::try_from(address).unwrap_or(usize::MAX);
        let range = start..start.saturating_add(length);
        self.bytes.get(range).ok_or(MemoryError { address, length })
    }
}

impl L1Memory for Memory {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        let cells = self.cells(address, into.len())?;
        for (to, from) in into.iter_mut().zip(cells) {
            *to = from.get();
        }
        Ok(())
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), MemoryError> {
        let cells = self.cells(address, from.len())?;
        for (to, from) in cells.iter().zip(from) {
            to.set(*from);
        }
        Ok(())
    }

    fn compare_exchange(&self, address: u64, _: u64, _: u64) -> Result<u64, MemoryError> {
        Err(MemoryError { address, length: 8 })
    }
}
