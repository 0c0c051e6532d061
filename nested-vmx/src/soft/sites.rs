// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Places in L1's memory where the guest stops: HLT in place of the first byte of an instruction.
//!
//! HLT makes KVM come back wherever the VMM has the local APIC, needs no debug register, leaves no
//! trace in RFLAGS, and lets nothing of the instruction happen.

use alloc::collections::BTreeMap;

use crate::memory::{L1Memory, MemoryError};

/// HLT.
pub(crate) const HLT: u8 = 0xf4;

/// The places, by their physical addresses in L1, with the bytes that belong there.
#[derive(Debug, Default)]
pub(crate) struct Sites {
    originals: BTreeMap<u64, u8>,
    /// How often a stop was taken away.
    removals: u64,
}

impl Sites {
    /// Stops the guest at `address`, unless it does already. `false`: there is no memory.
    pub(crate) fn set(&mut self, memory: &dyn L1Memory, address: u64) -> bool {
        let mut byte = [0];
        if memory.read(address, &mut byte).is_err() {
            return false;
        }
        let [byte] = byte;
        // The guest's own HLT may be there, or what it wrote over ours.
        if byte == HLT && self.originals.contains_key(&address) {
            return true;
        }
        if memory.write(address, &[HLT]).is_err() {
            return false;
        }
        self.originals.insert(address, byte);
        true
    }

    /// Puts the guest's byte back. Says whether there was a stop.
    pub(crate) fn remove(&mut self, memory: &dyn L1Memory, address: u64) -> bool {
        let removed = self.lift(memory, address);
        self.removals += u64::from(removed);
        removed
    }

    /// As [`Self::remove`], for one instruction: whoever calls it sets the stop again if there was
    /// one.
    pub(crate) fn lift(&mut self, memory: &dyn L1Memory, address: u64) -> bool {
        let Some(original) = self.originals.remove(&address) else {
            return false;
        };
        let mut byte = [0];
        // What the guest wrote over it stays.
        if memory.read(address, &mut byte).is_ok() && byte == [HLT] {
            let _ = memory.write(address, &[original]);
        }
        true
    }

    /// Puts all of the guest's bytes back.
    pub(crate) fn clear(&mut self, memory: &dyn L1Memory) {
        while let Some((&address, _)) = self.originals.first_key_value() {
            self.remove(memory, address);
        }
    }

    /// Whether the guest stops there.
    pub(crate) fn contains(&self, address: u64) -> bool {
        self.originals.contains_key(&address)
    }

    /// The places, with the bytes that belong there.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u8)> {
        self.originals
            .iter()
            .map(|(address, byte)| (*address, *byte))
    }

    /// How often one was taken away: who has set some, and sees the same number, knows that they are
    /// there.
    pub(crate) fn removals(&self) -> u64 {
        self.removals
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.originals.len()
    }

    fn within(&self, address: u64, length: usize) -> impl Iterator<Item = (usize, u8)> {
        let end = address.saturating_add(length as u64);
        self.originals
            .range(address..end)
            .map(move |(at, byte)| ((at - address) as usize, *byte))
    }
}

/// L1's memory as L1 wrote it.
#[derive(Clone, Copy)]
pub(crate) struct Unpatched<'a> {
    memory: &'a dyn L1Memory,
    sites: &'a Sites,
}

impl<'a> Unpatched<'a> {
    pub(crate) fn new(memory: &'a dyn L1Memory, sites: &'a Sites) -> Self {
        Self { memory, sites }
    }
}

impl L1Memory for Unpatched<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        self.memory.read(address, into)?;
        for (at, original) in self.sites.within(address, into.len()) {
            if let Some(byte) = into.get_mut(at)
                && *byte == HLT
            {
                *byte = original;
            }
        }
        Ok(())
    }

    /// What L0 writes over a stop stays; the guest stops there no more.
    fn write(&self, address: u64, from: &[u8]) -> Result<(), MemoryError> {
        self.memory.write(address, from)
    }

    fn compare_exchange(&self, address: u64, current: u64, new: u64) -> Result<u64, MemoryError> {
        self.memory.compare_exchange(address, current, new)
    }
}

#[cfg(all(test, feature = "model"))]
mod tests {
    use super::*;
    use crate::model::ModelMemory;

    fn byte(memory: &dyn L1Memory, address: u64) -> Option<u8> {
        let mut byte = [0];
        memory.read(address, &mut byte).ok().map(|()| byte[0])
    }

    #[test]
    fn a_stop_is_seen_by_the_guest_and_by_nobody_else() {
        let memory = ModelMemory::new(0x1000);
        memory.write(0x10, &[1, 2, 3]).unwrap();
        let mut sites = Sites::default();
        assert!(sites.set(&memory, 0x11));
        assert!(sites.set(&memory, 0x11), "once more");
        assert_eq!(byte(&memory, 0x11), Some(HLT));
        let mut read = [0; 3];
        Unpatched::new(&memory, &sites)
            .read(0x10, &mut read)
            .unwrap();
        assert_eq!(read, [1, 2, 3]);
        assert!(sites.remove(&memory, 0x11));
        assert!(!sites.remove(&memory, 0x11));
        assert_eq!(byte(&memory, 0x11), Some(2));
    }

    #[test]
    fn what_the_guest_writes_over_a_stop_stays() {
        let memory = ModelMemory::new(0x1000);
        let mut sites = Sites::default();
        sites.set(&memory, 0x10);
        memory.write(0x10, &[7]).unwrap();
        assert_eq!(byte(&Unpatched::new(&memory, &sites), 0x10), Some(7));
        sites.remove(&memory, 0x10);
        assert_eq!(byte(&memory, 0x10), Some(7));
        assert_eq!(sites.len(), 0);
    }

    #[test]
    fn all_are_taken_away_at_once() {
        let memory = ModelMemory::new(0x1000);
        let mut sites = Sites::default();
        for address in 0..0x1001 {
            sites.set(&memory, address);
        }
        assert_eq!(sites.len(), 0x1000);
        let removals = sites.removals();
        sites.clear(&memory);
        assert_eq!(sites.len(), 0);
        assert_ne!(sites.removals(), removals);
        assert!((0..0x1000).all(|address| byte(&memory, address) == Some(0)));
    }

    #[test]
    fn where_there_is_no_memory_there_is_no_stop() {
        let memory = ModelMemory::new(0x1000);
        let mut sites = Sites::default();
        assert!(!sites.set(&memory, 0x1000));
        assert!(!sites.contains(0x1000));
    }
}
