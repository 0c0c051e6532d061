// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Random numbers, the same each time (xorshift64*), and cheap.

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let value = self.next().to_le_bytes();
            chunk.copy_from_slice(&value[..chunk.len()]);
        }
    }

    /// A value that is somehow special, or any.
    pub fn edge(&mut self) -> u64 {
        let any = self.next();
        match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << (any & 63),
            3 => !(1 << (any & 63)),
            4 => any & 0xf_f000,
            5 => any & 3,
            6 => any & 0xff,
            _ => any,
        }
    }
}
