// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest's memory by linear address, through its own page tables (KVM_TRANSLATE).

use kvm_ioctls::VcpuFd;

use super::guest_ram::GuestRam;
use super::mechanism::NoHandler;

const PAGE: u64 = 4096;

/// Memory as the vCPU sees it now.
pub(super) struct Linear<'a> {
    fd: &'a VcpuFd,
    ram: &'a dyn GuestRam,
}

impl<'a> Linear<'a> {
    pub(super) fn new(fd: &'a VcpuFd, ram: &'a dyn GuestRam) -> Self {
        Self { fd, ram }
    }

    /// `N` bytes at `address`, which may cross a page border.
    pub(super) fn read<const N: usize>(&self, address: u64) -> Result<[u8; N], NoHandler> {
        let mut data = [0; N];
        match self.read_some(address, &mut data) {
            len if len == N => Ok(data),
            len => Err(NoHandler::Memory(address.wrapping_add(len as u64))),
        }
    }

    /// As many of the bytes at `address` as there are before memory ends; says how many.
    pub(super) fn read_some(&self, address: u64, data: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(rest) = data.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = address.wrapping_add(done as u64);
            let in_page = usize::try_from(PAGE - at % PAGE).unwrap_or(1);
            let len = rest.len().min(in_page);
            let (now, _) = rest.split_at_mut(len);
            match self.physical(at) {
                Ok(physical) if self.ram.read(physical, now) => done += len,
                _ => break,
            }
        }
        done
    }

    /// Puts a byte at `address`.
    pub(super) fn write(&self, address: u64, byte: u8) -> Result<(), NoHandler> {
        match self.ram.write(self.physical(address)?, &[byte]) {
            true => Ok(()),
            false => Err(NoHandler::Memory(address)),
        }
    }

    fn physical(&self, address: u64) -> Result<u64, NoHandler> {
        match self.fd.translate_gva(address) {
            Ok(found) if found.valid != 0 => Ok(found.physical_address),
            _ => Err(NoHandler::Memory(address)),
        }
    }
}
