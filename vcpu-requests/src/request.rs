// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What can be asked of a vCPU: a type whose values are bits.

use crate::Flags;

/// A type of requests: each value is one bit of a vCPU's word.
///
/// Declare it with [`requests!`](crate::requests). Writing it by hand is for code that adds
/// requests of its own to those of its user; then:
/// - [`bit`](Self::bit) gives each value another bit, all of them below 32 and in
///   [`MASK`](Self::MASK), and [`from_bit`](Self::from_bit) is its inverse on all of `MASK`;
/// - [`NO_WAKEUP_MASK`](Self::NO_WAKEUP_MASK) says the same as [`flags`](Self::flags).
///
/// Debug builds check this where requests are made; in release builds a request whose bit is not in
/// `MASK` sets no bit.
///
/// ```
/// use vcpu_requests::{Flags, Request, RequestSet};
///
/// /// The user's requests, and one more.
/// #[derive(Clone, Copy, Debug, PartialEq)]
/// enum Either<R> {
///     User(R),
///     Pause,
/// }
///
/// impl<R: Request> Request for Either<R> {
///     const MASK: u32 = R::MASK | 1 << 31;
///     const NO_WAKEUP_MASK: u32 = R::NO_WAKEUP_MASK;
///
///     fn bit(self) -> u32 {
///         match self {
///             Self::User(request) => request.bit(),
///             Self::Pause => 31,
///         }
///     }
///
///     fn from_bit(bit: u32) -> Option<Self> {
///         match bit {
///             31 => Some(Self::Pause),
///             _ => R::from_bit(bit).map(Self::User),
///         }
///     }
///
///     fn flags(self) -> Flags {
///         match self {
///             Self::User(request) => request.flags(),
///             Self::Pause => Flags::NONE,
///         }
///     }
///
///     fn name(self) -> &'static str {
///         match self {
///             Self::User(request) => request.name(),
///             Self::Pause => "Pause",
///         }
///     }
/// }
///
/// vcpu_requests::requests! { enum Ask { Event = 0 } }
/// let set = RequestSet::from_iter([Either::Pause, Either::User(Ask::Event)]);
/// assert_eq!(format!("{set:?}"), "{Event, Pause}");
/// ```
pub trait Request: Copy + 'static {
    /// The bits of all requests.
    const MASK: u32;

    /// The bits of those with [`Flags::NO_WAKEUP`].
    const NO_WAKEUP_MASK: u32;

    /// Which bit this request is, 0 to 31. Lower bits come first where requests are listed.
    fn bit(self) -> u32;

    /// The request that has this bit.
    fn from_bit(bit: u32) -> Option<Self>;

    /// What it means for the vCPU and the maker.
    fn flags(self) -> Flags;

    /// Its name, for people to read.
    fn name(self) -> &'static str;
}

/// The request as a mask: one bit, or none if [`Request::bit`] is not in [`Request::MASK`].
#[inline]
pub(crate) fn mask_of<R: Request>(request: R) -> u32 {
    let mask = 1u32.checked_shl(request.bit()).unwrap_or(0) & R::MASK;
    let quiet = mask & R::NO_WAKEUP_MASK != 0;
    debug_assert!(mask != 0, "{}: not in MASK", request.name());
    debug_assert!(
        request.flags().contains(Flags::NO_WAKEUP) == quiet,
        "{}: flags() and NO_WAKEUP_MASK differ",
        request.name()
    );
    mask
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Request, mask_of};
    use crate::Flags;

    /// Breaks the trait's contract: bits are not in MASK, or NO_WAKEUP is not in its mask.
    #[derive(Clone, Copy)]
    struct Broken(u32);

    impl Request for Broken {
        const MASK: u32 = 1;
        const NO_WAKEUP_MASK: u32 = 0;

        fn bit(self) -> u32 {
            self.0
        }

        fn from_bit(bit: u32) -> Option<Self> {
            Some(Self(bit))
        }

        fn flags(self) -> Flags {
            Flags::NO_WAKEUP
        }

        fn name(self) -> &'static str {
            "Broken"
        }
    }

    #[test]
    #[cfg_attr(debug_assertions, should_panic = "Broken: not in MASK")]
    fn a_bit_that_is_not_in_the_mask_is_no_bit() {
        assert_eq!(mask_of(Broken(1)), 0);
    }

    #[test]
    #[cfg_attr(debug_assertions, should_panic = "Broken: not in MASK")]
    fn nor_is_one_beyond_the_word() {
        assert_eq!(mask_of(Broken(32)), 0);
    }

    #[test]
    #[cfg_attr(
        debug_assertions,
        should_panic = "Broken: flags() and NO_WAKEUP_MASK differ"
    )]
    fn flags_have_to_agree_with_their_mask() {
        assert_eq!(mask_of(Broken(0)), 1);
    }
}
