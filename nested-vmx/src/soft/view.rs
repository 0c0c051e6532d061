// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What an L2 with EPT sees of L1's memory: pages that L0 has walked EPT12 for, as slots of a VM.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::error::SoftError;
use super::space::{Mapping, is_writable};
use super::world::L2Memory;

const PAGE: u64 = 4096;

/// A slot in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapped {
    slot: u32,
    l1_physical: u64,
    length: u64,
    writable: bool,
}

/// The slots, by the guest-physical addresses where they begin.
pub(crate) struct View {
    memory: Box<dyn L2Memory>,
    mapped: BTreeMap<u64, Mapped>,
    /// Large pages of which not all is memory, guest-physical and L1-physical: no slot is tried for
    /// one again, since the slots of its parts have to make room for that.
    partial: BTreeSet<(u64, u64)>,
    free: Vec<u32>,
    /// How often everything was given up.
    clears: u64,
}

/// How many large pages are remembered that are partly memory. There are as many as L1 likes.
const MOST_PARTIAL: usize = 1024;

impl View {
    pub(crate) fn new(memory: Box<dyn L2Memory>) -> Self {
        let free = (0..memory.slots()).rev().collect();
        Self {
            memory,
            mapped: BTreeMap::new(),
            partial: BTreeSet::new(),
            free,
            clears: 0,
        }
    }

    /// Makes all of these pages what EPT12 says, so that they are there together: L2's next
    /// instruction needs them.
    pub(crate) fn show_all(&mut self, mappings: &[Mapping]) -> Result<(), SoftError> {
        let clears = self.clears;
        mappings.iter().try_for_each(|mapping| self.show(mapping))?;
        if self.clears != clears {
            // Slots ran out, and some of these went with the others.
            mappings.iter().try_for_each(|mapping| self.show(mapping))?;
        }
        Ok(())
    }

    /// Makes the page of `mapping` what EPT12 says. An address that is no memory of L1's gets no
    /// slot: an access to it is a device's.
    fn show(&mut self, mapping: &Mapping) -> Result<(), SoftError> {
        let at = mapping.guest_physical & !(PAGE - 1);
        let l1 = mapping.translation.address & !(PAGE - 1);
        let writable = is_writable(&mapping.translation);
        if let Some((start, found)) = self.find(at) {
            let same = found.l1_physical.wrapping_add(at - start) == l1;
            if same && (found.writable || !writable) {
                return Ok(());
            }
        }
        let size = mapping.translation.size.bytes();
        let offset = mapping.translation.size.offset(at);
        // A large page at once, where all of it is memory.
        let whole = (at - offset, l1.wrapping_sub(offset));
        if size > PAGE && !self.partial.contains(&whole) {
            self.drop_range(whole.0, size)?;
            if self.map(whole.0, whole.1, size, writable)? {
                return Ok(());
            }
            if self.partial.len() >= MOST_PARTIAL {
                self.partial.clear();
            }
            self.partial.insert(whole);
        }
        self.drop_range(at, PAGE)?;
        self.map(at, l1, PAGE, writable)?;
        Ok(())
    }

    fn map(
        &mut self,
        start: u64,
        l1_physical: u64,
        length: u64,
        writable: bool,
    ) -> Result<bool, SoftError> {
        if self.free.is_empty() {
            self.clear()?;
        }
        let Some(slot) = self.free.pop() else {
            return Ok(false);
        };
        let mapped = self
            .memory
            .map(slot, start, l1_physical, length, writable)
            .map_err(|source| SoftError::View {
                guest_physical: start,
                source,
            });
        if !matches!(mapped, Ok(true)) {
            self.free.push(slot);
            return mapped;
        }
        self.mapped.insert(
            start,
            Mapped {
                slot,
                l1_physical,
                length,
                writable,
            },
        );
        Ok(true)
    }

    fn find(&self, address: u64) -> Option<(u64, Mapped)> {
        let (&start, &found) = self.mapped.range(..=address).next_back()?;
        (address - start < found.length).then_some((start, found))
    }

    fn drop_range(&mut self, start: u64, length: u64) -> Result<(), SoftError> {
        let end = start.saturating_add(length);
        let mut gone: Vec<u64> = self.mapped.range(start..end).map(|(at, _)| *at).collect();
        gone.extend(self.find(start).map(|(at, _)| at));
        gone.dedup();
        for at in gone {
            self.drop_at(at)?;
        }
        Ok(())
    }

    fn drop_at(&mut self, start: u64) -> Result<(), SoftError> {
        let Some(mapped) = self.mapped.remove(&start) else {
            return Ok(());
        };
        self.memory
            .unmap(mapped.slot)
            .map_err(|source| SoftError::View {
                guest_physical: start,
                source,
            })?;
        self.free.push(mapped.slot);
        Ok(())
    }

    /// Forgets everything: INVEPT, or another EPTP.
    pub(crate) fn clear(&mut self) -> Result<(), SoftError> {
        while let Some((&start, _)) = self.mapped.first_key_value() {
            self.drop_at(start)?;
        }
        self.partial.clear();
        self.clears += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::ept::{MemoryType, PageSize, Permissions, Translation};

    type Slots = BTreeMap<u32, (u64, u64, u64, bool)>;

    /// Four slots; L1 has memory below 4 MiB.
    struct Recorder(Arc<Mutex<Slots>>);

    impl L2Memory for Recorder {
        fn slots(&self) -> u32 {
            4
        }

        fn map(&mut self, slot: u32, at: u64, l1: u64, length: u64, w: bool) -> io::Result<bool> {
            if l1 + length > 0x40_0000 {
                return Ok(false);
            }
            let mut slots = self.0.lock().unwrap();
            for (start, _, other, _) in slots.values() {
                assert!(at + length <= *start || start + other <= at, "they overlap");
            }
            assert!(slots.insert(slot, (at, l1, length, w)).is_none());
            Ok(true)
        }

        fn unmap(&mut self, slot: u32) -> io::Result<()> {
            self.0.lock().unwrap().remove(&slot).unwrap();
            Ok(())
        }
    }

    fn mapping(at: u64, l1: u64, size: PageSize, permissions: Permissions) -> Mapping {
        Mapping {
            guest_physical: at,
            translation: Translation {
                address: l1,
                size,
                permissions,
                memory_type: MemoryType::WriteBack,
                ignore_pat: false,
                dirty: true,
                supervisor_shadow_stack: false,
                suppress_ve: false,
            },
        }
    }

    fn view() -> (View, Arc<Mutex<Slots>>) {
        let slots = Arc::new(Mutex::new(Slots::new()));
        (View::new(Box::new(Recorder(slots.clone()))), slots)
    }

    #[test]
    fn a_large_page_is_one_slot_where_all_of_it_is_memory() {
        let (mut view, slots) = view();
        let all = Permissions::all();
        view.show(&mapping(0x4020_3123, 0x20_3123, PageSize::Size2M, all))
            .unwrap();
        view.show(&mapping(0x4020_0000, 0x20_0000, PageSize::Size2M, all))
            .unwrap();
        let expected = (0x4020_0000, 0x20_0000, 0x20_0000, true);
        assert_eq!(
            slots.lock().unwrap().values().collect::<Vec<_>>(),
            [&expected]
        );
        // The upper half of this one is not memory.
        view.show(&mapping(0x0, 0x30_0000, PageSize::Size2M, all))
            .unwrap();
        let slots = slots.lock().unwrap();
        assert!(
            slots
                .values()
                .any(|slot| *slot == (0, 0x30_0000, PAGE, true))
        );
    }

    #[test]
    fn pages_of_a_large_page_that_is_partly_memory_are_there_together() {
        let (mut view, slots) = view();
        let all = Permissions::all();
        for l1 in [0x30_0000, 0x30_1000, 0x40_0000, 0x30_0000] {
            view.show(&mapping(l1 - 0x30_0000, l1, PageSize::Size2M, all))
                .unwrap();
        }
        let slots = slots.lock().unwrap();
        for page in [0, PAGE] {
            let expected = (page, 0x30_0000 + page, PAGE, true);
            assert!(slots.values().any(|slot| *slot == expected), "{slots:?}");
        }
    }

    #[test]
    fn what_changes_is_mapped_anew() {
        let (mut view, slots) = view();
        let read = Permissions::READ;
        let write = Permissions::READ | Permissions::WRITE;
        for (l1, permissions) in [
            (0x1000, read),
            (0x1000, write),
            (0x2000, write),
            (0x2000, read),
        ] {
            view.show(&mapping(0x5000, l1, PageSize::Size4K, permissions))
                .unwrap();
            let slots = slots.lock().unwrap();
            let [slot] = slots.values().collect::<Vec<_>>()[..] else {
                panic!("{slots:?}");
            };
            assert_eq!((slot.0, slot.1), (0x5000, l1));
            assert!(slot.3 || permissions == read);
        }
    }

    #[test]
    fn without_a_free_slot_all_are_given_up() {
        let (mut view, slots) = view();
        for page in 0..9 {
            let at = page * PAGE;
            view.show(&mapping(at, at, PageSize::Size4K, Permissions::all()))
                .unwrap();
            assert!(slots.lock().unwrap().values().any(|slot| slot.0 == at));
        }
        view.clear().unwrap();
        assert!(slots.lock().unwrap().is_empty());
    }

    #[test]
    fn what_one_instruction_needs_is_there_together() {
        let (mut view, slots) = view();
        let all = Permissions::all();
        let pages = |numbers: std::ops::Range<u64>| -> Vec<Mapping> {
            numbers
                .map(|page| mapping(page * PAGE, page * PAGE, PageSize::Size4K, all))
                .collect()
        };
        for first in [0, 3, 1, 5] {
            view.show_all(&pages(first..first + 3)).unwrap();
            let slots = slots.lock().unwrap();
            for page in first..first + 3 {
                assert!(
                    slots.values().any(|slot| slot.0 == page * PAGE),
                    "{slots:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_memory_is_not_mapped() {
        let (mut view, slots) = view();
        let all = Permissions::all();
        view.show(&mapping(0x1000, 0xfee0_0000, PageSize::Size4K, all))
            .unwrap();
        assert!(slots.lock().unwrap().is_empty());
        // A page that was memory and is none any more.
        view.show(&mapping(0x1000, 0, PageSize::Size4K, all))
            .unwrap();
        view.show(&mapping(0x1000, 0xfee0_0000, PageSize::Size4K, all))
            .unwrap();
        assert!(slots.lock().unwrap().is_empty());
    }
}
