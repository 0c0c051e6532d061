// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A set of interrupt vectors, as a register of 256 bits holds them.

/// Vectors 0 to 255.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct VectorSet([u32; 8]);

impl VectorSet {
    /// Adds or removes a vector.
    pub(super) fn set(&mut self, vector: u8, present: bool) {
        if let Some(word) = self.0.get_mut(usize::from(vector / 32)) {
            let bit = 1 << (vector % 32);
            *word = if present { *word | bit } else { *word & !bit };
        }
    }

    /// Whether the vector is there.
    pub(super) fn contains(&self, vector: u8) -> bool {
        self.word(vector / 32) >> (vector % 32) & 1 != 0
    }

    /// The highest vector.
    pub(super) fn highest(&self) -> Option<u8> {
        (0..8u8).rev().find_map(|index| {
            let bit = self.word(index).checked_ilog2()?;
            u8::try_from(u32::from(index) * 32 + bit).ok()
        })
    }

    /// Takes the highest vector out.
    pub(super) fn take_highest(&mut self) -> Option<u8> {
        let highest = self.highest()?;
        self.set(highest, false);
        Some(highest)
    }

    /// One of the eight registers that show the set, 32 vectors each.
    pub(super) fn word(&self, index: u8) -> u32 {
        self.0.get(usize::from(index)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(steps in prop::collection::vec(any::<(u8, bool)>(), 0..64)) {
            let (mut set, mut model) = (VectorSet::default(), BTreeSet::new());
            for (vector, present) in steps {
                set.set(vector, present);
                if present {
                    model.insert(vector);
                } else {
                    model.remove(&vector);
                }
                prop_assert_eq!(set.highest(), model.last().copied());
                prop_assert!((0..=255).all(|vector| set.contains(vector) == model.contains(&vector)));
            }
            let taken: Vec<u8> = std::iter::from_fn(|| set.take_highest()).collect();
            prop_assert!(taken.into_iter().eq(model.into_iter().rev()));
            prop_assert_eq!(set, VectorSet::default());
        }
    }

    #[test]
    fn its_words_are_in_order() {
        let mut set = VectorSet::default();
        set.set(0x21, true);
        set.set(0xff, true);
        assert_eq!([0, 1, 7, 8].map(|at| set.word(at)), [0, 2, 1 << 31, 0]);
    }
}
