// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The programs.

use std::fmt;

use crate::layout;

/// The port that [`Program::PortOut`] writes to. DX has it in each program.
pub const PORT: u16 = 0x80;

/// What the guest does when nothing interrupts it. It never ends.
///
/// Where a program makes progress it increments the word that
/// [`Guest::progress`](crate::Guest::progress) reads, once a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// One JMP to itself.
    Spin,
    /// Makes progress, and increments EBX.
    Count,
    /// [`Self::Count`], with interrupts off.
    Masked,
    /// HLT, then progress.
    Halt,
    /// OUT of a byte to [`PORT`], then progress. It begins at the OUT.
    PortOut,
}

impl Program {
    /// Each program.
    pub const ALL: [Self; 5] = [
        Self::Spin,
        Self::Count,
        Self::Masked,
        Self::Halt,
        Self::PortOut,
    ];

    /// Whether it runs with interrupts on.
    pub const fn interrupts(self) -> bool {
        !matches!(self, Self::Masked)
    }

    /// The address of its first instruction.
    pub(crate) const fn entry(self) -> u64 {
        layout::PROGRAMS + layout::PROGRAM * self as u64
    }

    /// Whether one of its instructions is at `address`. What fills the room behind it does not matter:
    /// nothing jumps there.
    pub(crate) fn contains(self, address: u64) -> bool {
        (self.entry()..self.entry() + layout::PROGRAM).contains(&address)
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spin => "spin",
            Self::Count => "count",
            Self::Masked => "count with interrupts off",
            Self::Halt => "halt",
            Self::PortOut => "port out",
        })
    }
}
