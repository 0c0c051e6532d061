// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest's memory, as far as an immediate exit looks at it.

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

/// The guest's physical memory: where its IDT is read, and an interrupt frame put right.
///
/// Every memory of vm-memory's is one.
pub trait GuestRam: Send + Sync {
    /// Reads from guest physical `address`; `false` where not all of it is memory.
    fn read(&self, address: u64, data: &mut [u8]) -> bool;

    /// Writes to guest physical `address`; `false` where not all of it is memory.
    fn write(&self, address: u64, data: &[u8]) -> bool;
}

impl<M: GuestMemoryBackend + Send + Sync> GuestRam for M {
    fn read(&self, address: u64, data: &mut [u8]) -> bool {
        self.read_slice(data, GuestAddress(address)).is_ok()
    }

    fn write(&self, address: u64, data: &[u8]) -> bool {
        self.write_slice(data, GuestAddress(address)).is_ok()
    }
}
