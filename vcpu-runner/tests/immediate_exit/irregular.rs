// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Irregular numbers that are the same in each run.

/// A small generator (xorshift64): what is random in these tests need only be irregular.
pub struct Irregular(u64);

impl Irregular {
    /// Numbers that begin with `seed`, which is not 0.
    pub fn new(seed: u64) -> Self {
        assert_ne!(seed, 0);
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// One of `items`.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }
}
