// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The six modes of the 8254 (Intel's data sheet 231164), as functions of how many clocks have been
//! counted since the count was loaded.

/// How a counter counts, and what its output does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Mode 0: rises at the end of the count.
    TerminalCount,
    /// Mode 1: low from the trigger to the end of the count.
    OneShot,
    /// Mode 2: low for the last clock of each period.
    RateGenerator,
    /// Mode 3: low for the second half of each period.
    SquareWave,
    /// Mode 4: low for the clock that ends the count.
    SoftwareStrobe,
    /// Mode 5: as mode 4, from the trigger on.
    HardwareStrobe,
}

impl Mode {
    /// From the three bits of a control word. The data sheet does not care for the upper one in
    /// modes 2 and 3.
    pub(super) fn new(bits: u8) -> Self {
        match bits & 0b111 {
            0 => Self::TerminalCount,
            1 => Self::OneShot,
            4 => Self::SoftwareStrobe,
            5 => Self::HardwareStrobe,
            bits if bits & 1 == 0 => Self::RateGenerator,
            _ => Self::SquareWave,
        }
    }

    /// Whether a rising gate starts it, and nothing else does.
    pub(super) fn is_triggered(self) -> bool {
        matches!(self, Self::OneShot | Self::HardwareStrobe)
    }

    /// Whether it begins again by itself.
    pub(super) fn is_periodic(self) -> bool {
        matches!(self, Self::RateGenerator | Self::SquareWave)
    }

    /// The output before a count is loaded.
    pub(super) fn initial_output(self) -> bool {
        self != Self::TerminalCount
    }

    /// The output after `clocks` of a `count`, which is not 0.
    pub(super) fn output(self, count: u64, clocks: u64) -> bool {
        match self {
            Self::TerminalCount | Self::OneShot => clocks >= count,
            Self::SoftwareStrobe | Self::HardwareStrobe => clocks != count,
            // A count of 1 is illegal in either; it makes no edges.
            Self::RateGenerator => clocks % count != count - 1,
            Self::SquareWave => clocks % count < high_half(count),
        }
    }

    /// How many clocks up to `clocks` let the output rise.
    pub(super) fn rises(self, count: u64, clocks: u64) -> u64 {
        match self {
            Self::TerminalCount | Self::OneShot => u64::from(clocks >= count),
            Self::SoftwareStrobe | Self::HardwareStrobe => u64::from(clocks > count),
            Self::RateGenerator | Self::SquareWave if count > 1 => clocks / count,
            Self::RateGenerator | Self::SquareWave => 0,
        }
    }

    /// The next clock after `clocks` that lets the output rise, None if there is none.
    pub(super) fn next_rise(self, count: u64, clocks: u64) -> Option<u64> {
        let next = match self {
            Self::TerminalCount | Self::OneShot => count,
            Self::SoftwareStrobe | Self::HardwareStrobe => count + 1,
            Self::RateGenerator | Self::SquareWave if count > 1 => {
                (clocks / count + 1).checked_mul(count)?
            }
            Self::RateGenerator | Self::SquareWave => return None,
        };
        (next > clocks).then_some(next)
    }

    /// In the periodic modes: how many more clocks until a new count is loaded, and whether that is in
    /// the middle of a square wave, the only one that loads there.
    pub(super) fn next_load(self, count: u64, clocks: u64) -> (u64, bool) {
        let within = clocks % count;
        if self == Self::SquareWave && count > 1 && within < high_half(count) {
            (high_half(count) - within, true)
        } else {
            (count - within, false)
        }
    }

    /// What the counter reads, in a counter that wraps at `modulus`.
    pub(super) fn remaining(self, count: u64, clocks: u64, modulus: u64) -> u64 {
        let left = match self {
            Self::RateGenerator => count - clocks % count,
            Self::SquareWave => {
                // Two at a time, in both halves; the first of an odd count is one clock longer.
                let within = clocks % count;
                let half = within.checked_sub(high_half(count)).unwrap_or(within);
                (count & !1).saturating_sub(2 * half)
            }
            _ => count + modulus - clocks % modulus,
        };
        left % modulus
    }
}

/// How long a square wave is high: the longer half.
pub(super) fn high_half(count: u64) -> u64 {
    count.div_ceil(2)
}
