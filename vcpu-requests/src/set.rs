// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Several requests at once.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::iter::FusedIterator;
use core::marker::PhantomData;

use crate::Request;
use crate::request::mask_of;

/// A set of requests. Iterating gives them in the order of their bits.
///
/// ```
/// use vcpu_requests::{RequestSet, requests};
///
/// requests! {
///     enum Ask { Event = 0, Timer = 4, FlushTlb = 9 }
/// }
///
/// let mut set = RequestSet::from_iter([Ask::FlushTlb, Ask::Event]);
/// assert!(set.contains(Ask::Event) && !set.contains(Ask::Timer));
/// assert_eq!(format!("{set:?}"), "{Event, FlushTlb}");
/// assert!(set.remove(Ask::Event));
/// assert_eq!(set.into_iter().collect::<Vec<_>>(), [Ask::FlushTlb]);
/// ```
pub struct RequestSet<R> {
    bits: u32,
    // `fn`: the set holds no `R`, so it can be sent whatever `R` is.
    requests: PhantomData<fn() -> R>,
}

impl<R: Request> RequestSet<R> {
    /// No request.
    pub const fn new() -> Self {
        Self::from_bits(0)
    }

    /// The requests whose bits are set; other bits are dropped.
    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self {
            bits: bits & R::MASK,
            requests: PhantomData,
        }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.bits == 0
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.bits.count_ones() as usize
    }

    /// Whether `request` is one of them.
    pub fn contains(&self, request: R) -> bool {
        self.bits & mask_of(request) != 0
    }

    /// Adds `request`. Says whether it was missing.
    pub fn insert(&mut self, request: R) -> bool {
        let before = self.bits;
        self.bits |= mask_of(request);
        self.bits != before
    }

    /// Takes `request` out. Says whether it was there.
    pub fn remove(&mut self, request: R) -> bool {
        let before = self.bits;
        self.bits &= !mask_of(request);
        self.bits != before
    }

    /// The requests, lowest bit first.
    pub const fn iter(&self) -> Iter<R> {
        Iter { left: *self }
    }
}

// Written out because deriving would ask the same of `R`.
impl<R> Clone for RequestSet<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for RequestSet<R> {}

impl<R> PartialEq for RequestSet<R> {
    fn eq(&self, other: &Self) -> bool {
        self.bits == other.bits
    }
}

impl<R> Eq for RequestSet<R> {}

impl<R> Hash for RequestSet<R> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bits.hash(state);
    }
}

impl<R: Request> Default for RequestSet<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Request> fmt::Debug for RequestSet<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.iter().map(|request| Name(request.name())))
            .finish()
    }
}

/// A name that `Debug` shows without quotes.
struct Name(&'static str);

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl<R: Request> Extend<R> for RequestSet<R> {
    fn extend<I: IntoIterator<Item = R>>(&mut self, requests: I) {
        for request in requests {
            self.insert(request);
        }
    }
}

impl<R: Request> FromIterator<R> for RequestSet<R> {
    fn from_iter<I: IntoIterator<Item = R>>(requests: I) -> Self {
        let mut set = Self::new();
        set.extend(requests);
        set
    }
}

impl<R: Request> IntoIterator for RequestSet<R> {
    type Item = R;
    type IntoIter = Iter<R>;

    fn into_iter(self) -> Iter<R> {
        self.iter()
    }
}

impl<R: Request> IntoIterator for &RequestSet<R> {
    type Item = R;
    type IntoIter = Iter<R>;

    fn into_iter(self) -> Iter<R> {
        self.iter()
    }
}

/// The requests of a [`RequestSet`], lowest bit first.
#[derive(Clone)]
pub struct Iter<R> {
    left: RequestSet<R>,
}

impl<R: Request> Iterator for Iter<R> {
    type Item = R;

    fn next(&mut self) -> Option<R> {
        while self.left.bits != 0 {
            let bit = self.left.bits.trailing_zeros();
            self.left.bits &= self.left.bits - 1;
            // `None` only where `from_bit` breaks its contract; skip rather than repeat.
            if let Some(request) = R::from_bit(bit) {
                return Some(request);
            }
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left.len()))
    }
}

impl<R: Request> FusedIterator for Iter<R> {}

impl<R: Request> fmt::Debug for Iter<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Iter").field(&self.left).finish()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::RequestSet;
    use std::format;
    use std::vec::Vec;

    crate::requests! {
        enum Ask { A = 0, B = 7, C = 31 }
    }

    #[test]
    fn insert_and_remove_say_what_changed() {
        let mut set = RequestSet::new();
        assert!(set.insert(Ask::C));
        assert!(!set.insert(Ask::C));
        assert_eq!(set.len(), 1);
        assert!(!set.remove(Ask::A));
        assert!(set.remove(Ask::C));
        assert!(set.is_empty());
    }

    #[test]
    fn iteration_is_in_bit_order() {
        let set: RequestSet<Ask> = [Ask::C, Ask::A, Ask::B].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [Ask::A, Ask::B, Ask::C]);
    }

    #[test]
    fn bits_of_nobody_are_dropped() {
        let set = RequestSet::<Ask>::from_bits(u32::MAX);
        assert_eq!(set.len(), 3);
        assert_eq!(format!("{set:?}"), "{A, B, C}");
    }

    #[test]
    fn the_empty_set_shows_as_such() {
        let set = RequestSet::<Ask>::default();
        assert_eq!(format!("{set:?} {:?}", set.iter()), "{} Iter({})");
    }

    #[test]
    fn what_is_left_to_iterate_is_known() {
        let set = RequestSet::from_iter([Ask::A, Ask::C]);
        let mut left = (&set).into_iter();
        assert_eq!(left.next(), Some(Ask::A));
        assert_eq!(left.size_hint().1, Some(1));
        assert_eq!(format!("{:?}", left.clone()), "Iter({C})");
        assert_eq!(left.next(), Some(Ask::C));
        assert_eq!((left.next(), left.next()), (None, None));
    }

    #[test]
    fn equal_sets_hash_alike() {
        let sets =
            [[Ask::A, Ask::C], [Ask::C, Ask::A], [Ask::A, Ask::B]].map(RequestSet::from_iter);
        let distinct: std::collections::HashSet<_> = sets.into_iter().collect();
        assert_eq!(distinct.len(), 2);
    }
}
