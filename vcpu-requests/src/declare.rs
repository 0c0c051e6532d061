// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The macro that declares a type of requests.

/// Declares an enum whose values are requests: a name, a bit from 0 to 31, flags.
///
/// ```
/// use vcpu_requests::{Flags, Request, requests};
///
/// requests! {
///     /// What a VMM asks of its vCPUs.
///     pub enum VmmRequest {
///         /// Inject what the interrupt controller has.
///         Event = 0,
///         /// Forget cached translations; needless while the vCPU sleeps.
///         FlushTlb = 1: WAIT | NO_WAKEUP,
///     }
/// }
///
/// assert_eq!(VmmRequest::FlushTlb.bit(), 1);
/// assert_eq!(VmmRequest::from_bit(0), Some(VmmRequest::Event));
/// assert_eq!(VmmRequest::FlushTlb.flags(), Flags::WAIT | Flags::NO_WAKEUP);
/// assert_eq!(VmmRequest::FlushTlb.name(), "FlushTlb");
/// ```
///
/// The enum is `Clone, Copy, Debug, PartialEq, Eq, Hash` and implements
/// [`Request`](crate::Request). Other attributes may be given, also to its values.
///
/// A bit is used once:
/// ```compile_fail,E0081
/// vcpu_requests::requests! {
///     enum Twice { A = 3, B = 3 }
/// }
/// ```
/// and there are 32 of them:
/// ```compile_fail,E0080
/// vcpu_requests::requests! {
///     enum TooHigh { A = 32 }
/// }
/// ```
/// A flag that does not exist is refused:
/// ```compile_fail,E0599
/// vcpu_requests::requests! {
///     enum Unknown { A = 0: NO_SUCH_FLAG }
/// }
/// ```
#[macro_export]
macro_rules! requests {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $(
                $(#[$variant_meta:meta])*
                $variant:ident = $bit:literal $(: $first:ident $(| $flag:ident)*)?
            ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        $vis enum $name {
            $( $(#[$variant_meta])* $variant = $bit, )+
        }

        // Evaluated also where nothing uses the type.
        const _: () = {
            $(
                assert!(
                    ($bit as u32) < 32,
                    concat!("request ", stringify!($variant), ": its bit is not one of 0 to 31")
                );
            )+
        };

        impl $crate::Request for $name {
            const MASK: u32 = 0 $( | 1 << $bit )+;

            const NO_WAKEUP_MASK: u32 = 0 $(
                | if $crate::Flags::NONE
                    $( .union($crate::Flags::$first) $( .union($crate::Flags::$flag) )* )?
                    .contains($crate::Flags::NO_WAKEUP)
                {
                    1 << $bit
                } else {
                    0
                }
            )+;

            #[inline]
            fn bit(self) -> u32 {
                self as u32
            }

            #[inline]
            fn from_bit(bit: u32) -> ::core::option::Option<Self> {
                match bit {
                    $( $bit => ::core::option::Option::Some(Self::$variant), )+
                    _ => ::core::option::Option::None,
                }
            }

            #[inline]
            fn flags(self) -> $crate::Flags {
                match self {
                    $(
                        Self::$variant => const {
                            $crate::Flags::NONE
                                $(
                                    .union($crate::Flags::$first)
                                    $( .union($crate::Flags::$flag) )*
                                )?
                        },
                    )+
                }
            }

            fn name(self) -> &'static str {
                match self {
                    $( Self::$variant => stringify!($variant), )+
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use crate::{Flags, Request};

    crate::requests! {
        /// The lowest bit, the highest, and some flags between.
        enum Sample {
            Lowest = 0,
            Quiet = 5: NO_WAKEUP,
            Highest = 31: WAIT | NO_WAKEUP | NO_ACTION,
        }
    }

    #[test]
    fn masks_are_made_of_the_bits() {
        assert_eq!(Sample::MASK, 1 | 1 << 5 | 1 << 31);
        assert_eq!(Sample::NO_WAKEUP_MASK, 1 << 5 | 1 << 31);
    }

    #[test]
    fn from_bit_is_the_inverse_of_bit() {
        for bit in 0..40 {
            match Sample::from_bit(bit) {
                Some(request) => assert_eq!(request.bit(), bit),
                None => assert!(bit > 31 || Sample::MASK & 1 << bit == 0),
            }
        }
    }

    #[test]
    fn flags_are_those_declared() {
        assert_eq!(Sample::Lowest.flags(), Flags::NONE);
        assert_eq!(
            Sample::Highest.flags(),
            Flags::WAIT | Flags::NO_WAKEUP | Flags::NO_ACTION
        );
        assert_eq!(Sample::Quiet.name(), "Quiet");
    }
}
