// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which settings of a control field are allowed (SDM volume 3, appendix A.2).

use core::fmt;
use core::marker::PhantomData;

use crate::controls::Controls;

/// A capability MSR of a 32-bit control field: bits that must be 1, and bits that may be.
pub struct ControlRange<C> {
    must: u64,
    may: u64,
    of: PhantomData<C>,
}

impl<C> Clone for ControlRange<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for ControlRange<C> {}

impl<C> PartialEq for ControlRange<C> {
    fn eq(&self, other: &Self) -> bool {
        self.must == other.must && self.may == other.may
    }
}

impl<C> Eq for ControlRange<C> {}

impl<C> fmt::Debug for ControlRange<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x} to {:#x}", self.must, self.may)
    }
}

impl<C: Controls> ControlRange<C> {
    /// From the MSR of a 32-bit field: the low half has the bits that must be 1 (allowed-0), the
    /// high half those that may be 1 (allowed-1).
    pub const fn from_msr(value: u64) -> Self {
        Self::new(value & 0xffff_ffff, value >> 32)
    }

    /// From the MSR of a 64-bit field, all of whose bits may be 0 (appendix A.2: the tertiary and
    /// the secondary exit controls).
    pub const fn from_allowed_1(may: u64) -> Self {
        Self::new(0, may)
    }

    const fn new(must: u64, may: u64) -> Self {
        Self {
            must,
            may,
            of: PhantomData,
        }
    }

    /// The bits that must be 1.
    pub const fn must_be_1(self) -> u64 {
        self.must
    }

    /// The bits that may be 1.
    pub const fn allowed_1(self) -> u64 {
        self.may
    }

    /// Whether one of these controls may be 1.
    pub fn may_be_1(self, controls: C) -> bool {
        self.may & controls.value() != 0
    }

    /// Whether the field may have this value.
    pub fn allows(self, controls: C) -> bool {
        let value = controls.value();
        value & self.must == self.must && value & !self.may == 0
    }

    /// The value nearest to `controls` that is allowed: bits that must be 1 set, bits that may not
    /// be 1 cleared.
    pub fn nearest(self, controls: C) -> u64 {
        controls.value() & self.may | self.must
    }
}
