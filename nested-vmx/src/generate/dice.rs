// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Choices drawn from the fuzzer's bytes. When these run out, what is drawn is 0, and so the first
//! choice: a short input is a simple state.

use arbitrary::Unstructured;

/// Draws from bytes.
pub(super) struct Dice<'u, 'a>(pub(super) &'u mut Unstructured<'a>);

impl Dice<'_, '_> {
    /// Any 64 bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// Any 8 bits.
    pub(super) fn byte(&mut self) -> u8 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// A number below `end`, or 0 where there is none.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        match end {
            0..=1 => 0,
            2..=256 => u64::from(self.byte()) % end,
            _ => self.bits() % end,
        }
    }

    /// True once in so many times.
    pub(super) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == times.saturating_sub(1)
    }

    /// One of these; `otherwise` if there are none.
    pub(super) fn one_of<T: Copy>(&mut self, choices: &[T], otherwise: T) -> T {
        let which = self.below(choices.len() as u64) as usize;
        choices.get(which).copied().unwrap_or(otherwise)
    }

    /// One of the bits of `mask`, alone; 0 if it has none.
    pub(super) fn bit_of(&mut self, mask: u64) -> u64 {
        let mut which = self.below(mask.count_ones().into());
        let mut left = mask;
        while which > 0 {
            left &= left.wrapping_sub(1);
            which -= 1;
        }
        left & left.wrapping_neg()
    }

    /// Any linear address that is canonical with this width, 48 or 57 bits.
    pub(super) fn canonical(&mut self, width: u32) -> u64 {
        let unused = 64 - width;
        ((self.bits() << unused) as i64 >> unused) as u64
    }

    /// Any that is not: one of the bits above differs from the others.
    pub(super) fn not_canonical(&mut self, width: u32) -> u64 {
        self.canonical(width) ^ self.bit_of(u64::MAX << width)
    }

    /// A number above `most`, the next one in half of the cases.
    pub(super) fn above(&mut self, most: u64, span: u64) -> u64 {
        match self.once_in(2) {
            true => most.saturating_add(1 + self.below(span)),
            false => most.saturating_add(1),
        }
    }
}

/// Numbers without meaning, many from one seed: for fields that nothing looks at.
pub(super) struct Noise(u64);

impl Noise {
    /// Seed 0 gives only zeros.
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one (xorshift64).
    pub(super) const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
