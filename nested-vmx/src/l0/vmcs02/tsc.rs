// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The TSC of L2: L1's offset and multiplier on top of L0's (SDM volume 3, sections 26.6.5 and
//! 27.3).

use crate::controls::{PrimaryControls, SecondaryControls};
use crate::vmcs::Vmcs;

/// What RDTSC returns in a guest: the TSC times a fixed-point number with 48 fraction bits, plus
/// an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TscView {
    /// With 48 bits of fraction.
    pub multiplier: u64,
    /// Added, modulo 2^64.
    pub offset: u64,
}

impl TscView {
    /// A multiplier of 1.
    pub const ONE: u64 = 1 << 48;

    /// The view that a VMCS gives its guest.
    pub fn of(vmcs: &Vmcs) -> Self {
        let offsetting = vmcs.primary().contains(PrimaryControls::USE_TSC_OFFSETTING);
        let scaling = vmcs.secondary().contains(SecondaryControls::TSC_SCALING);
        Self {
            multiplier: match offsetting && scaling {
                true => vmcs.tsc_multiplier(),
                false => Self::ONE,
            },
            offset: match offsetting {
                true => vmcs.tsc_offset(),
                false => 0,
            },
        }
    }

    /// The view of a guest whose hypervisor has the view `self` and gives it the view `inner`.
    pub fn nested(self, inner: Self) -> Self {
        // The offset is signed: what is scaled is what it moves the clock by.
        let moved = (i128::from(self.offset.cast_signed()) * i128::from(inner.multiplier)) >> 48;
        let multiplier = (u128::from(self.multiplier) * u128::from(inner.multiplier)) >> 48;
        Self {
            multiplier: u64::try_from(multiplier).unwrap_or(u64::MAX),
            // Modulo 2^64, as the processor adds it.
            offset: (moved as u64).wrapping_add(inner.offset),
        }
    }

    /// What RDTSC returns when the TSC is `tsc`.
    #[cfg(test)]
    pub fn apply(self, tsc: u64) -> u64 {
        let scaled = (u128::from(tsc) * u128::from(self.multiplier)) >> 48;
        (scaled as u64).wrapping_add(self.offset)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn view() -> impl Strategy<Value = TscView> {
        // A clock at a half to double speed, moved by up to 2^40 ticks.
        (
            (TscView::ONE / 2)..(TscView::ONE * 2),
            -(1_i64 << 40)..1 << 40,
        )
            .prop_map(|(multiplier, offset)| TscView {
                multiplier,
                offset: offset.cast_unsigned(),
            })
    }

    proptest! {
        #[test]
        fn one_view_after_the_other(outer in view(), inner in view(), tsc in 1_u64 << 44..1 << 50) {
            let step_by_step = inner.apply(outer.apply(tsc));
            let at_once = outer.nested(inner).apply(tsc);
            // A multiplier is rounded once more: one unit in 2^48, of 2^51 at most, and the ends.
            let difference = step_by_step.wrapping_sub(at_once).cast_signed();
            prop_assert!(difference.abs() <= 16, "{difference}");
        }
    }

    #[test]
    fn an_offset_alone_is_exact() {
        let view = |offset| TscView {
            multiplier: TscView::ONE,
            offset,
        };
        assert_eq!(view(5).nested(view(u64::MAX)), view(4));
        assert_eq!(view(u64::MAX).nested(view(u64::MAX)), view(u64::MAX - 1));
    }
}
