// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a request means beyond its bit.

use core::fmt;
use core::ops::BitOr;

/// How a request treats the vCPU and its maker, in the kernel's terms.
///
/// ```
/// use vcpu_requests::Flags;
///
/// const FLUSH: Flags = Flags::WAIT.union(Flags::NO_WAKEUP);
/// assert_eq!(FLUSH, Flags::WAIT | Flags::NO_WAKEUP);
/// assert!(FLUSH.contains(Flags::WAIT));
/// assert!(!FLUSH.contains(Flags::NO_ACTION));
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(u8);

impl Flags {
    /// Handled before the next entry; kicks a vCPU out of the guest, wakes one that sleeps; the
    /// maker does not wait.
    pub const NONE: Self = Self(0);

    /// The maker goes on only once the vCPU has left the guest mode that the request found it in.
    ///
    /// It does not wait for the request to be handled: a vCPU outside guest mode handles it before
    /// it enters again, which is all that a maker can want to know.
    pub const WAIT: Self = Self(1 << 0);

    /// Does not wake a sleeping vCPU: the request is handled whenever it wakes up for another
    /// reason. For what matters only to a vCPU that runs, such as flushing its TLB.
    pub const NO_WAKEUP: Self = Self(1 << 1);

    /// Kicks (and wakes, unless [`NO_WAKEUP`](Self::NO_WAKEUP)), and that is all: no bit is set and
    /// nothing is left to handle. A vCPU that is neither in the guest nor asleep does not notice.
    pub const NO_ACTION: Self = Self(1 << 2);

    const NAMES: [(Self, &'static str); 3] = [
        (Self::WAIT, "WAIT"),
        (Self::NO_WAKEUP, "NO_WAKEUP"),
        (Self::NO_ACTION, "NO_ACTION"),
    ];

    /// These flags and `other`'s; `|` where that must be `const`.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other`'s flags are among these.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (flag, name) in Self::NAMES {
            if self.contains(flag) {
                write!(f, "{separator}{name}")?;
                separator = " | ";
            }
        }
        if separator.is_empty() {
            f.write_str("NONE")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::Flags;
    use std::format;

    #[test]
    fn flags_are_shown_by_name() {
        assert_eq!(format!("{:?}", Flags::NONE), "NONE");
        assert_eq!(
            format!("{:?}", Flags::NO_ACTION | Flags::WAIT),
            "WAIT | NO_ACTION"
        );
    }

    #[test]
    fn none_is_contained_in_everything() {
        assert!(Flags::WAIT.contains(Flags::NONE));
        assert!(!Flags::NONE.contains(Flags::WAIT));
        assert!(!Flags::WAIT.contains(Flags::WAIT | Flags::NO_WAKEUP));
    }
}
