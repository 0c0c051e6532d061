// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest's memory, as the core of nested VMX sees it.

use std::sync::atomic::{AtomicU64, Ordering};

use nested_vmx::memory::{L1Memory, MemoryError};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, VolatileMemory};

/// L1's physical memory.
#[derive(Clone, Debug)]
pub struct L1Ram(GuestMemoryMmap);

impl L1Ram {
    /// The memory of this guest.
    pub fn new(memory: GuestMemoryMmap) -> Self {
        Self(memory)
    }

    /// Whether all of it is memory: before anything is read or written of it.
    fn check(&self, address: u64, length: usize) -> Result<GuestAddress, MemoryError> {
        let start = GuestAddress(address);
        match self.0.check_range(start, length) {
            true => Ok(start),
            false => Err(MemoryError { address, length }),
        }
    }
}

impl L1Memory for L1Ram {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        let length = into.len();
        let start = self.check(address, length)?;
        // Aligned accesses are one access: the guest's other processors, and KVM, see no halves.
        let done = match (length, address % 8) {
            (8, 0) => self
                .0
                .load::<u64>(start, Ordering::Acquire)
                .map(|value| into.copy_from_slice(&value.to_le_bytes())),
            (4, 0 | 4) => self
                .0
                .load::<u32>(start, Ordering::Acquire)
                .map(|value| into.copy_from_slice(&value.to_le_bytes())),
            _ => self.0.read_slice(into, start),
        };
        done.map_err(|_| MemoryError { address, length })
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), MemoryError> {
        let length = from.len();
        let start = self.check(address, length)?;
        let done = match (<[u8; 8]>::try_from(from), address % 8) {
            (Ok(bytes), 0) => self
                .0
                .store(u64::from_le_bytes(bytes), start, Ordering::Release),
            _ => self.0.write_slice(from, start),
        };
        done.map_err(|_| MemoryError { address, length })
    }

    fn compare_exchange(&self, address: u64, current: u64, new: u64) -> Result<u64, MemoryError> {
        const LENGTH: usize = 8;
        let error = || MemoryError {
            address,
            length: LENGTH,
        };
        let start = self.check(address, LENGTH)?;
        if !address.is_multiple_of(8) {
            return Err(error());
        }
        let slice = self.0.get_slice(start, LENGTH).map_err(|_| error())?;
        let atomic = slice.get_atomic_ref::<AtomicU64>(0).map_err(|_| error())?;
        // The guest is little-endian, and so is every host with KVM for it.
        let exchanged = atomic.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst);
        Ok(exchanged.unwrap_or_else(|found| found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ram() -> L1Ram {
        let ranges = [(GuestAddress(0), 0x3000), (GuestAddress(0x1_0000), 0x1000)];
        L1Ram::new(GuestMemoryMmap::from_ranges(&ranges).unwrap())
    }

    #[test]
    fn what_is_not_memory_is_an_error_and_no_access() {
        let ram = ram();
        ram.write(0x2ff8, &[1; 8]).unwrap();
        for (address, length) in [(0x2ff9, 8), (0x3000, 1), (u64::MAX, 2), (0xffff, 2)] {
            let mut bytes = vec![7; length];
            let error = MemoryError { address, length };
            assert_eq!(ram.read(address, &mut bytes), Err(error));
            assert!(bytes.iter().all(|byte| *byte == 7));
            assert_eq!(ram.write(address, &bytes), Err(error));
        }
        assert_eq!(ram.read_u64(0x2ff8), Ok(0x0101_0101_0101_0101));
    }

    #[test]
    fn an_exchange_is_made_where_the_value_is_the_expected_one() {
        let ram = ram();
        ram.write(0x1_0008, &5_u64.to_le_bytes()).unwrap();
        assert_eq!(ram.compare_exchange(0x1_0008, 4, 9), Ok(5));
        assert_eq!(ram.compare_exchange(0x1_0008, 5, 9), Ok(5));
        assert_eq!(ram.read_u64(0x1_0008), Ok(9));
        assert!(ram.compare_exchange(0x1_0004, 0, 1).is_err());
        assert!(ram.compare_exchange(0x3000, 0, 1).is_err());
    }
}
