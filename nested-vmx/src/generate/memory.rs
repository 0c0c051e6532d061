// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! L1's memory in a scenario: zeros, but for a few words.

use core::cell::Cell;

use crate::memory::{L1Memory, MemoryError};

/// How many words can be other than 0.
const WORDS: usize = 64;

/// Memory of L1 up to its last physical address. It takes no heap: at most 64 aligned 8-byte words
/// can ever have been written.
#[derive(Clone, Debug)]
pub struct Memory {
    words: [Cell<(u64, u64)>; WORDS],
    /// How many of them are in use.
    used: Cell<usize>,
    /// A 1 in each bit that an address must not have.
    beyond: u64,
}

impl Memory {
    /// Memory where addresses have no bit of `beyond`.
    pub(super) fn new(beyond: u64) -> Self {
        Self {
            words: core::array::from_fn(|_| Cell::new((0, 0))),
            used: Cell::new(0),
            beyond,
        }
    }

    fn words(&self) -> impl Iterator<Item = &Cell<(u64, u64)>> {
        self.words.iter().take(self.used.get())
    }

    /// The aligned word at `address`.
    fn word(&self, address: u64) -> u64 {
        self.words()
            .map(Cell::get)
            .find(|&(at, _)| at == address)
            .map_or(0, |(_, value)| value)
    }

    /// Sets the aligned word at `address`. False if there is no room for another one.
    pub(super) fn set_word(&self, address: u64, value: u64) -> bool {
        if let Some(word) = self.words().find(|word| word.get().0 == address) {
            word.set((address, value));
            return true;
        }
        let Some(word) = self.words.get(self.used.get()) else {
            return false;
        };
        word.set((address, value));
        self.used.set(self.used.get() + 1);
        true
    }

    /// Whether anything was written to the 4 KiB page of `address`.
    pub(super) fn uses_page(&self, address: u64) -> bool {
        self.words().any(|word| word.get().0 >> 12 == address >> 12)
    }

    fn check(&self, address: u64, length: usize) -> Result<(), MemoryError> {
        let last = address.checked_add((length as u64).saturating_sub(1));
        match last {
            Some(last) if (address | last) & self.beyond == 0 => Ok(()),
            _ => Err(MemoryError { address, length }),
        }
    }
}

impl L1Memory for Memory {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        self.check(address, into.len())?;
        for (at, byte) in (address..).zip(into) {
            let word = self.word(at & !7);
            *byte = (word >> ((at & 7) * 8)) as u8;
        }
        Ok(())
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), MemoryError> {
        self.check(address, from.len())?;
        let full = MemoryError {
            address,
            length: from.len(),
        };
        // Words that there is no room for are found before any is written.
        let first = address & !7;
        let count = (address & 7) + from.len() as u64;
        let missing = (first..first.saturating_add(count))
            .step_by(8)
            .filter(|&at| !self.words().any(|word| word.get().0 == at))
            .count();
        if self.used.get() + missing > WORDS {
            return Err(full);
        }
        for (at, &byte) in (address..).zip(from) {
            let shift = (at & 7) * 8;
            let word = self.word(at & !7) & !(0xff << shift) | u64::from(byte) << shift;
            if !self.set_word(at & !7, word) {
                return Err(full);
            }
        }
        Ok(())
    }

    fn compare_exchange(&self, address: u64, current: u64, new: u64) -> Result<u64, MemoryError> {
        self.check(address, 8)?;
        let was = self.word(address);
        let aligned = address & 7 == 0;
        if aligned && (was != current || self.set_word(address, new)) {
            return Ok(was);
        }
        Err(MemoryError { address, length: 8 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_written_and_zeros_elsewhere() {
        let memory = Memory::new(!0xff_ffff);
        memory.write(0x1005, &[1, 2, 3, 4, 5]).unwrap();
        let mut bytes = [9; 8];
        memory.read(0x1004, &mut bytes).unwrap();
        assert_eq!(bytes, [0, 1, 2, 3, 4, 5, 0, 0]);
        assert_eq!(memory.read_u64(0x1000), Ok(0x0302_0100_0000_0000));
        assert!(memory.uses_page(0x1fff) && !memory.uses_page(0x2000));
    }

    #[test]
    fn ends_at_the_physical_address_width() {
        let memory = Memory::new(!0xff_ffff);
        assert!(memory.read(0xff_fff8, &mut [0; 8]).is_ok());
        let error = MemoryError {
            address: 0xff_fff9,
            length: 8,
        };
        assert_eq!(memory.read(0xff_fff9, &mut [0; 8]), Err(error));
        assert!(memory.read(u64::MAX, &mut [0; 8]).is_err());
        assert!(memory.write(1 << 24, &[0]).is_err());
    }

    #[test]
    fn has_room_for_some_words_and_writes_all_or_nothing() {
        let memory = Memory::new(!0xff_ffff);
        for at in 0..WORDS as u64 - 1 {
            memory.write(at * 4096, &[1]).unwrap();
        }
        assert!(memory.write(0xf0_0004, &[7; 8]).is_err());
        assert_eq!(memory.read_u64(0xf0_0000), Ok(0));
        assert!(memory.write(0xf0_0000, &[7; 8]).is_ok());
        assert!(memory.write(0, &[2; 8]).is_ok(), "written before");
    }

    #[test]
    fn exchanges() {
        let memory = Memory::new(!0xff_ffff);
        assert_eq!(memory.compare_exchange(8, 1, 2), Ok(0));
        assert_eq!(memory.compare_exchange(8, 0, 2), Ok(0));
        assert_eq!(memory.compare_exchange(8, 0, 3), Ok(2));
        assert_eq!(memory.read_u64(8), Ok(2));
        assert!(memory.compare_exchange(4, 0, 3).is_err());
    }
}
