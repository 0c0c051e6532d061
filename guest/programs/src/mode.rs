// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The processor's modes.

use std::fmt;

/// A mode of the processor. The guest is in ring 0 and its segments are flat, with base 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// 16-bit real mode.
    Real,
    /// 32-bit protected mode without paging.
    Protected,
    /// 64-bit mode. The first 2 MiB are mapped to themselves.
    Long,
}

/// The vectors whose exceptions push an error code, outside real mode: SDM volume 3, table "Protected-
/// Mode Exceptions and Interrupts", and 29 and 30 (#VC, #SX) of AMD's APM volume 2, section 8.2.
const ERROR_CODES: u32 = 1 << 8
    | 1 << 10
    | 1 << 11
    | 1 << 12
    | 1 << 13
    | 1 << 14
    | 1 << 17
    | 1 << 21
    | 1 << 29
    | 1 << 30;

impl Mode {
    /// Each mode.
    pub const ALL: [Self; 3] = [Self::Real, Self::Protected, Self::Long];

    /// The vectors whose exceptions push an error code, a bit each.
    pub(crate) const fn error_codes(self) -> u32 {
        match self {
            Self::Real => 0,
            Self::Protected | Self::Long => ERROR_CODES,
        }
    }

    /// Whether the exception `vector` pushes an error code.
    pub(crate) fn pushes_error_code(self, vector: u8) -> bool {
        vector < 32 && self.error_codes() >> vector & 1 == 1
    }

    /// Bytes of what the processor pushes at once.
    pub(crate) const fn word(self) -> u64 {
        match self {
            Self::Real => 2,
            Self::Protected => 4,
            Self::Long => 8,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Real => "real mode",
            Self::Protected => "protected mode",
            Self::Long => "long mode",
        })
    }
}
