// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! L1's memory: some pages at 0 that KVM sees too.

use std::cell::RefCell;

use nested_vmx::memory::{L1Memory, MemoryError};

const PAGE: usize = 4096;

/// Pages of L1.
const PAGES: usize = 16;

/// Memory that lives as long as the process, since KVM has its address.
pub struct Memory {
    bytes: RefCell<&'static mut [u8]>,
}

impl Memory {
    pub const SIZE: usize = PAGES * PAGE;

    pub fn new() -> Self {
        let raw = Box::leak(vec![0_u8; Self::SIZE + PAGE].into_boxed_slice());
        let skip = raw.as_ptr().align_offset(PAGE);
        let bytes = raw.get_mut(skip..skip + Self::SIZE).expect("enough");
        Self {
            bytes: RefCell::new(bytes),
        }
    }

    /// Where it is in this process.
    pub fn host_address(&self) -> u64 {
        self.bytes.borrow().as_ptr().addr() as u64
    }

    fn range(address: u64, length: usize) -> Result<std::ops::Range<usize>, MemoryError> {
        let error = MemoryError { address, length };
        let start = usize::try_from(address).map_err(|_| error)?;
        let end = start.checked_add(length).filter(|&end| end <= Self::SIZE);
        Ok(start..end.ok_or(error)?)
    }
}

impl L1Memory for Memory {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        let range = Self::range(address, into.len())?;
        into.copy_from_slice(&self.bytes.borrow()[range]);
        Ok(())
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), MemoryError> {
        let range = Self::range(address, from.len())?;
        self.bytes.borrow_mut()[range].copy_from_slice(from);
        Ok(())
    }

    fn compare_exchange(&self, address: u64, _: u64, _: u64) -> Result<u64, MemoryError> {
        Err(MemoryError { address, length: 8 })
    }
}
