// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The ways out of the emulated machine, beside its console.

/// One way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// The command's standard output.
    Stdout,
    /// The command's standard error.
    Stderr,
    /// The [report](crate::report).
    Report,
}

impl Channel {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Stdout, Self::Stderr, Self::Report];

    /// The name of its virtio-serial port.
    pub fn port(self) -> &'static str {
        match self {
            Self::Stdout => "lab.stdout",
            Self::Stderr => "lab.stderr",
            Self::Report => "lab.report",
        }
    }

    /// Its number in a [frame](crate::frames).
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Stdout => 1,
            Self::Stderr => 2,
            Self::Report => 3,
        }
    }
}
