// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The mode in which the guest launches L2 in a loop, with an injection each time, while its VMM
//! raises events for L1; and the books that both keep.

use crate::layout;

/// The first of the 16 vectors that L1 injects into L2 in turn.
pub(crate) const FIRST_VECTOR: u8 = 0x40;

/// What the guest's memory says of a storm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// How often L2 was launched and came to its end.
    pub iterations: u64,
    /// How many exits from L2 to L1 there were.
    pub exits: u64,
    /// How many external interrupts came to L1.
    pub interrupts: u64,
    /// How many NMIs came to L1.
    pub nmis: u64,
    /// How many exits there had been when the last external interrupt came.
    pub exits_at_interrupt: u64,
    /// How many exits there had been when the last NMI came.
    pub exits_at_nmi: u64,
    /// How many events L1 has injected into L2.
    pub injected: u64,
    /// Whether the guest has ended, and why.
    pub end: u64,
}

/// Where [`Shared`] is in the guest's memory.
pub const ADDRESS: u64 = layout::SHARED;

/// How many bytes it takes there.
pub const SIZE: usize = 0x48;

/// The word that the VMM sets to anything but 0 to end the storm.
pub const STOP: u64 = layout::SHARED_STOP;

/// The counters of L2's vectors, 8 bytes each.
pub const L2_COUNTERS: u64 = layout::L2_COUNTS;

/// The vectors that L1 injects.
pub fn vectors() -> std::ops::Range<u8> {
    FIRST_VECTOR..FIRST_VECTOR + 16
}

/// [`Shared::end`] of a guest that was told to stop.
pub const STOPPED: u64 = 1;

impl Shared {
    /// From the guest's bytes at [`ADDRESS`].
    pub fn from_bytes(bytes: &[u8; SIZE]) -> Self {
        let word = |address: u64| {
            let at = (address - layout::SHARED) as usize;
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        Self {
            iterations: word(layout::SHARED_ITERATIONS),
            exits: word(layout::SHARED_EXITS),
            interrupts: word(layout::SHARED_INTERRUPTS),
            nmis: word(layout::SHARED_NMIS),
            exits_at_interrupt: word(layout::SHARED_INTERRUPT_EXIT),
            exits_at_nmi: word(layout::SHARED_NMI_EXIT),
            injected: word(layout::SHARED_INJECTED),
            end: word(layout::SHARED_STATE),
        }
    }
}
