// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The layout of a vCPU's word, and what can be read off one value of it.
//!
//! ```text
//!  63              36 35     34       33     32       31                0
//! +------------------+-----+--------+------+--------+------------------+
//! |    generation    |WOKEN|SLEEPING|KICKED|IN_GUEST|   request bits   |
//! +------------------+-----+--------+------+--------+------------------+
//! ```
//!
//! The generation is on top so that counting it past its end drops out of the word.

use crate::{Mode, Request, RequestSet, Ticket};

/// The request bits.
pub(crate) const REQUESTS: u64 = u32::MAX as u64;
/// The vCPU is in guest mode: somebody has to kick it if it is to notice anything.
pub(crate) const IN_GUEST: u64 = 1 << 32;
/// Somebody made a request since the last entry. Together with IN_GUEST: the kick is under way.
pub(crate) const KICKED: u64 = 1 << 33;
/// The vCPU sleeps: somebody has to wake it if it is to notice anything.
pub(crate) const SLEEPING: u64 = 1 << 34;
/// Somebody made a request that wakes since the vCPU went to sleep.
pub(crate) const WOKEN: u64 = 1 << 35;
/// One generation: how often the vCPU has left guest mode, modulo 2^28.
pub(crate) const GENERATION: u64 = 1 << 36;

const GENERATION_SHIFT: u32 = GENERATION.trailing_zeros();

/// Leaving guest mode, as one addition: IN_GUEST (which is set) goes, a generation comes.
pub(crate) const LEAVE: u64 = GENERATION - IN_GUEST;

/// One value that the word had.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) u64);

impl Word {
    pub(crate) const fn request_bits(self) -> u32 {
        (self.0 & REQUESTS) as u32
    }

    pub(crate) const fn requests<R: Request>(self) -> RequestSet<R> {
        RequestSet::from_bits(self.request_bits())
    }

    pub(crate) const fn has(self, mark: u64) -> bool {
        self.0 & mark != 0
    }

    pub(crate) const fn mode(self) -> Mode {
        if self.has(IN_GUEST) {
            if self.has(KICKED) {
                Mode::Exiting
            } else {
                Mode::InGuest
            }
        } else if self.has(SLEEPING) {
            Mode::Sleeping
        } else {
            // KICKED and WOKEN may be left over; the next entry or sleep clears them.
            Mode::Outside
        }
    }

    pub(crate) const fn ticket(self) -> Ticket {
        Ticket {
            generation: (self.0 >> GENERATION_SHIFT) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_changes_nothing_but_mode_and_generation() {
        let all = Word(!(SLEEPING | WOKEN));
        let left = Word(all.0.wrapping_add(LEAVE));
        assert_eq!(left.request_bits(), u32::MAX);
        assert_eq!(left.mode(), Mode::Outside);
        assert!(left.has(KICKED));
        // The last generation is followed by the first.
        assert_eq!(all.ticket().generation, (1 << 28) - 1);
        assert_eq!(left.ticket().generation, 0);
    }

    #[test]
    fn a_left_over_mark_is_no_mode() {
        assert_eq!(Word(KICKED | WOKEN).mode(), Mode::Outside);
        assert_eq!(Word(KICKED | SLEEPING).mode(), Mode::Sleeping);
        assert_eq!(Word(KICKED | IN_GUEST).mode(), Mode::Exiting);
        assert_eq!(Word(WOKEN | IN_GUEST).mode(), Mode::InGuest);
    }
}
