// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The timer's clock. A tick's number comes from the time since the start, not from the time since
//! the last look, so that nothing adds up.

/// In Hz: a third of the colour carrier's 3.579545 MHz.
pub(super) const FREQUENCY: u64 = 1_193_182;

const NANOSECONDS: u64 = 1_000_000_000;

/// The last tick that has begun.
pub(super) fn tick_at(nanoseconds: u64) -> u64 {
    let ticks = u128::from(nanoseconds) * u128::from(FREQUENCY) / u128::from(NANOSECONDS);
    // A tick is longer than a nanosecond.
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// The first nanosecond of a tick, None if it is beyond the scale.
pub(super) fn nanoseconds_of(tick: u64) -> Option<u64> {
    let nanoseconds = u128::from(tick) * u128::from(NANOSECONDS);
    u64::try_from(nanoseconds.div_ceil(u128::from(FREQUENCY))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_begins_with_its_first_nanosecond() {
        for tick in [1, 2, 3, 65_536, FREQUENCY, 1 << 40, tick_at(u64::MAX)] {
            let start = nanoseconds_of(tick).unwrap();
            assert_eq!((tick_at(start - 1), tick_at(start)), (tick - 1, tick));
        }
        assert_eq!((tick_at(0), nanoseconds_of(0)), (0, Some(0)));
        assert_eq!(nanoseconds_of(FREQUENCY), Some(NANOSECONDS));
        assert_eq!(nanoseconds_of(tick_at(u64::MAX) + 1), None);
    }
}
