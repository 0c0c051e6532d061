// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A few pages of memory, with another processor that writes to them.

use std::cell::{Cell, RefCell};

use arbitrary::Unstructured;
use nested_vmx::memory::{L1Memory, MemoryError};

/// Pages of memory, from address 0 on.
pub const PAGES: u64 = 6;

/// How many words a page has here that are not the same as 8 words before.
const WORDS: usize = 8;

/// A write of the other processor's.
struct Race {
    /// After how many accesses more.
    after: u8,
    page: u8,
    index: u8,
    flip: u64,
}

/// The memory. All words of a page with the same number modulo [`WORDS`] begin as the same.
pub struct HostileMemory {
    words: RefCell<Vec<u64>>,
    races: RefCell<Vec<Race>>,
    hostile: bool,
    steps: Cell<u32>,
}

impl HostileMemory {
    /// Reads the memory's first contents, then the other processor's writes.
    pub fn from_input(input: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        let mut words = vec![0; PAGES as usize * 512];
        for page in words.chunks_mut(512) {
            let first: [u64; WORDS] = input.arbitrary()?;
            for (word, from) in page.iter_mut().zip(first.into_iter().cycle()) {
                *word = from;
            }
        }
        let mut races = Vec::new();
        while !input.is_empty() && races.len() < 16 {
            races.push(Race {
                after: input.arbitrary()?,
                page: input.arbitrary()?,
                index: input.arbitrary()?,
                flip: input.arbitrary()?,
            });
        }
        races.reverse();
        Ok(Self {
            words: RefCell::new(words),
            hostile: !races.is_empty(),
            races: RefCell::new(races),
            steps: Cell::new(0),
        })
    }

    /// All of it.
    pub fn words(&self) -> Vec<u64> {
        self.words.borrow().clone()
    }

    /// Whether the other processor writes at all.
    pub fn is_hostile(&self) -> bool {
        self.hostile
    }

    /// How many accesses there were.
    pub fn steps(&self) -> u32 {
        self.steps.get()
    }

    /// Counts an access. The other processor writes before it, if it is time.
    fn step(&self) {
        self.steps.set(self.steps.get() + 1);
        let mut races = self.races.borrow_mut();
        let Some(race) = races.last_mut() else { return };
        match race.after.checked_sub(1) {
            Some(left) => race.after = left,
            None => {
                let page = usize::from(race.page) % PAGES as usize;
                let at = page * 512 + usize::from(race.index) % WORDS;
                if let Some(word) = self.words.borrow_mut().get_mut(at) {
                    *word ^= race.flip;
                }
                races.pop();
            }
        }
    }

    /// The number of the word at an address. Words are all that is accessed here.
    fn index(&self, address: u64, length: usize) -> Result<usize, MemoryError> {
        let error = MemoryError { address, length };
        assert!(length == 8 && address.is_multiple_of(8), "{error}");
        match address / 8 {
            index if index < PAGES * 512 => Ok(index as usize),
            _ => Err(error),
        }
    }
}

impl L1Memory for HostileMemory {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        self.step();
        let index = self.index(address, into.len())?;
        into.copy_from_slice(&self.words.borrow()[index].to_le_bytes());
        Ok(())
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), MemoryError> {
        self.step();
        let index = self.index(address, from.len())?;
        let mut word = [0; 8];
        word.copy_from_slice(from);
        self.words.borrow_mut()[index] = u64::from_le_bytes(word);
        Ok(())
    }

    fn compare_exchange(&self, address: u64, current: u64, new: u64) -> Result<u64, MemoryError> {
        self.step();
        let index = self.index(address, 8)?;
        let word = &mut self.words.borrow_mut()[index];
        let was = *word;
        if was == current {
            *word = new;
        }
        Ok(was)
    }
}
