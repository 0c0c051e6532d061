// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! L1's physical memory, as the core sees it.

use thiserror::Error;

/// An access to L1's physical memory that is not memory: a hole, a device, beyond the end.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("no memory of L1 at {address:#x}, {length} bytes")]
pub struct MemoryError {
    /// The physical address in L1.
    pub address: u64,
    /// How many bytes were asked for.
    pub length: usize,
}

/// L1's physical memory.
///
/// Guest memory is shared with running vCPUs, so methods take `&self`, and an access of up to 8
/// bytes that is naturally aligned is one access. Addresses are L1's to choose: any may come, and
/// what is not memory is an error and no access at all. Nothing here may reach memory that is not
/// L1's.
pub trait L1Memory {
    /// Fills all of `into` from `address` on.
    ///
    /// # Errors
    ///
    /// [`MemoryError`], if any byte is not memory.
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryError>;

    /// Writes all of `from` to `address` and on.
    ///
    /// # Errors
    ///
    /// [`MemoryError`], if any byte is not memory; then nothing was written.
    fn write(&self, address: u64, from: &[u8]) -> Result<(), MemoryError>;

    /// Replaces the 8 bytes at `address` by `new` if they are `current`, in one atomic operation,
    /// and returns what they were.
    ///
    /// # Errors
    ///
    /// [`MemoryError`], if any byte is not memory, or `address` is not a multiple of 8.
    fn compare_exchange(&self, address: u64, current: u64, new: u64) -> Result<u64, MemoryError>;

    /// The 4 bytes at `address`, little-endian.
    ///
    /// # Errors
    ///
    /// [`MemoryError`]
    fn read_u32(&self, address: u64) -> Result<u32, MemoryError> {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// The 8 bytes at `address`, little-endian.
    ///
    /// # Errors
    ///
    /// [`MemoryError`]
    fn read_u64(&self, address: u64) -> Result<u64, MemoryError> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}
