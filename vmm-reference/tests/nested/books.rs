// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the VMM has raised, held against what the guest has counted.

use guest_l1::storm::{self, Shared};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::random::Random;

/// Which event the VMM raises for L1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raised {
    Interrupt,
    Nmi,
    Both,
}

impl Raised {
    /// Each of them as often as the other, and both now and then.
    pub fn any(random: &mut Random) -> Self {
        match random.below(0..5) {
            0 | 1 => Self::Nmi,
            2 | 3 => Self::Interrupt,
            _ => Self::Both,
        }
    }

    pub fn interrupts(self) -> u64 {
        u64::from(self != Self::Nmi)
    }

    pub fn nmis(self) -> u64 {
        u64::from(self != Self::Interrupt)
    }
}

/// An L1 event comes with the second nested exit after it was raised, at the latest.
const MOST_EXITS: u64 = 2;

/// How much has been raised so far, and how long it took to arrive.
#[derive(Debug, Default)]
pub struct Books {
    pub interrupts: u64,
    pub nmis: u64,
    /// How many events came before another exit, with the first one, with the second one.
    pub exits: [u64; 3],
}

impl Books {
    pub fn raise(&mut self, what: Raised) {
        self.interrupts += what.interrupts();
        self.nmis += what.nmis();
    }

    pub fn have_all_arrived(&self, shared: &Shared) -> bool {
        shared.interrupts >= self.interrupts && shared.nmis >= self.nmis
    }

    /// `what` was raised after `exits` nested exits, and has arrived.
    pub fn arrived(&mut self, what: Raised, exits: u64, shared: &Shared) {
        let mut check = |count: u64, at: u64| {
            if count == 0 {
                return;
            }
            let late = at - exits;
            assert!(
                late <= MOST_EXITS,
                "{what:?} raised after {exits} exits came after {at}"
            );
            self.exits[late as usize] += 1;
        };
        check(what.interrupts(), shared.exits_at_interrupt);
        check(what.nmis(), shared.exits_at_nmi);
    }

    /// Each event came once, to whom it was for.
    pub fn check(&self, memory: &GuestMemoryMmap, shared: &Shared) {
        assert_eq!(shared.end, storm::STOPPED, "{shared:x?}");
        assert_eq!(shared.interrupts, self.interrupts, "{shared:?}");
        assert_eq!(shared.nmis, self.nmis, "{shared:?}");
        assert_eq!(shared.injected, shared.iterations, "{shared:?}");
        let counters: Vec<u64> = (0..=255).map(|vector| counter(memory, vector)).collect();
        let vectors = storm::vectors();
        for (vector, count) in counters.iter().enumerate() {
            let Some(turn) = vector.checked_sub(vectors.start.into()) else {
                assert_eq!(*count, 0, "L2 was given vector {vector:#x}");
                continue;
            };
            let expected = match turn < vectors.len() {
                true => {
                    let (rounds, rest) = (shared.injected / 16, shared.injected % 16);
                    rounds + u64::from((turn as u64) < rest)
                }
                false => 0,
            };
            assert_eq!(*count, expected, "L2's vector {vector:#x}: {shared:?}");
        }
    }
}

/// How often this vector came to L2.
pub fn counter(memory: &GuestMemoryMmap, vector: u8) -> u64 {
    memory
        .read_obj(GuestAddress(storm::L2_COUNTERS + 8 * u64::from(vector)))
        .unwrap()
}
