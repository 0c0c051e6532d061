// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A few pages of memory, from address 0 on.

use std::cell::{Cell, RefCell};

use nested_vmx::memory::{L1Memory, MemoryError};

/// The memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    quadwords: RefCell<Vec<u64>>,
    /// How many times from now on an entry changes before it is exchanged.
    pub races: Cell<u32>,
}

impl Memory {
    /// So many pages, all 0.
    pub fn new(pages: usize) -> Self {
        Self {
            quadwords: RefCell::new(vec![0; pages * 512]),
            races: Cell::new(0),
        }
    }

    fn index(&self, address: u64, length: usize) -> Result<usize, MemoryError> {
        let index = usize::try_from(address / 8).unwrap();
        let end = (address % 8 + length as u64).div_ceil(8);
        match index + end as usize <= self.quadwords.borrow().len() {
            true => Ok(index),
            false => Err(MemoryError { address, length }),
        }
    }

    /// Sets the 8 bytes at an address of memory.
    pub fn set(&self, address: u64, value: u64) {
        self.write(address, &value.to_le_bytes()).unwrap();
    }

    /// The 8 bytes at an address of memory.
    pub fn get(&self, address: u64) -> u64 {
        self.read_u64(address).unwrap()
    }
}

impl L1Memory for Memory {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        self.index(address, into.len())?;
        for (address, byte) in (address..).zip(into) {
            let index = self.index(address, 1)?;
            *byte = self.quadwords.borrow()[index].to_le_bytes()[address as usize % 8];
        }
        Ok(())
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), MemoryError> {
        self.index(address, from.len())?;
        for (address, byte) in (address..).zip(from) {
            let index = self.index(address, 1)?;
            let quadword = &mut self.quadwords.borrow_mut()[index];
            let mut bytes = quadword.to_le_bytes();
            bytes[address as usize % 8] = *byte;
            *quadword = u64::from_le_bytes(bytes);
        }
        Ok(())
    }

    fn compare_exchange(&self, address: u64, current: u64, new: u64) -> Result<u64, MemoryError> {
        let index = self.index(address, 8)?;
        assert_eq!(address % 8, 0);
        let quadword = &mut self.quadwords.borrow_mut()[index];
        if let Some(left) = self.races.get().checked_sub(1) {
            self.races.set(left);
            // An ignored bit: the entry is another, and means the same.
            *quadword ^= 1 << 11;
        }
        let was = *quadword;
        if was == current {
            *quadword = new;
        }
        Ok(was)
    }
}
