// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest's memory by linear address, through its own page tables.

use std::cell::RefCell;

use super::guest_ram::GuestRam;
use super::mechanism::NoHandler;

const PAGE: u64 = 4096;

/// Memory as the vCPU sees it now.
pub(super) struct Linear<'a> {
    translate: &'a dyn Fn(u64) -> Option<u64>,
    ram: &'a dyn GuestRam,
    /// Pages that were translated already: to ask KVM costs microseconds, and tables are read bit by
    /// bit.
    known: RefCell<Vec<(u64, u64)>>,
}

impl<'a> Linear<'a> {
    /// Memory whose linear addresses `translate` turns into physical ones, a page at a time.
    pub(super) fn new(translate: &'a dyn Fn(u64) -> Option<u64>, ram: &'a dyn GuestRam) -> Self {
        Self {
            translate,
            ram,
            known: RefCell::default(),
        }
    }

    /// The guest has run: its page tables may be others.
    pub(super) fn forget(&self) {
        self.known.borrow_mut().clear();
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
        let (page, offset) = (address & !(PAGE - 1), address % PAGE);
        let mut known = self.known.borrow_mut();
        if let Some((_, physical)) = known.iter().find(|(found, _)| *found == page) {
            return Ok(physical.saturating_add(offset));
        }
        let physical = (self.translate)(page).ok_or(NoHandler::Memory(address))?;
        known.push((page, physical));
        Ok(physical.saturating_add(offset))
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use vm_memory::{GuestAddress, GuestMemoryMmap};

    use super::*;

    /// Two pages whose order is the other way round in memory, and nothing else.
    fn swapped(address: u64) -> Option<u64> {
        match address / PAGE {
            page @ 0..=1 => Some((1 - page) * PAGE + address % PAGE),
            _ => None,
        }
    }

    #[test]
    fn a_read_may_cross_a_page_and_ends_where_memory_does() {
        let pages = [(GuestAddress(0), 2 * PAGE as usize)];
        let ram: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&pages).unwrap();
        let linear = Linear::new(&swapped, &ram);
        linear.write(PAGE - 1, 1).unwrap();
        linear.write(PAGE, 2).unwrap();
        linear.write(2 * PAGE - 1, 3).unwrap();
        assert_eq!(linear.read(PAGE - 1), Ok([1, 2]));
        let mut byte = [0];
        assert!(ram.read(2 * PAGE - 1, &mut byte));
        assert_eq!(byte, [1], "the first page is the second in memory");
        assert_eq!(linear.read_some(2 * PAGE - 1, &mut [0; 9]), 1);
        assert_eq!(
            linear.read::<2>(2 * PAGE - 1),
            Err(NoHandler::Memory(2 * PAGE))
        );
        assert!(linear.write(2 * PAGE, 0).is_err());
        assert!(linear.read::<1>(u64::MAX).is_err());
    }

    #[test]
    fn a_page_is_asked_for_once_until_the_guest_has_run() {
        let pages = [(GuestAddress(0), 2 * PAGE as usize)];
        let ram: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&pages).unwrap();
        let asked = RefCell::new(Vec::new());
        let count = |address| {
            asked.borrow_mut().push(address);
            Some(address)
        };
        let linear = Linear::new(&count, &ram);
        for address in [8, 16, PAGE - 1, PAGE + 8] {
            linear.read::<1>(address).unwrap();
        }
        assert_eq!(*asked.borrow(), [0, PAGE]);
        linear.forget();
        linear.write(9, 1).unwrap();
        assert_eq!(asked.borrow().len(), 3);
    }
}
