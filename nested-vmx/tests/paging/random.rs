// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Random tables and accesses against the model.

use nested_vmx::memory::L1Memory;
use nested_vmx::model::ModelMemory;
use nested_vmx::paging::{Access, PagingFault, PagingState, translate};
use proptest::prelude::*;

use crate::model::{self, Outcome};
use crate::{LA57, LMA, NXE, PAE, PG, PSE, SMAP, SMEP, WP};

/// How many pages there are, and how many entries of each are not 0.
const PAGES: u64 = 8;
const ENTRIES: u64 = 4;

fn entry() -> impl Strategy<Value = u64> {
    let address = prop_oneof![40 => 0..PAGES, 1 => Just(PAGES), 1 => Just(1 << 28)];
    let low = prop_oneof![20 => Just(7_u64), 2 => Just(3), 2 => Just(5), 1 => 0..8_u64];
    let bits = prop::sample::subsequence(vec![5, 6, 8, 9, 59], 0..4)
        .prop_map(|bits| bits.into_iter().map(|bit: u32| 1 << bit).sum::<u64>());
    let rare = prop_oneof![
        20 => Just(0), 2 => Just(1 << 7), 1 => Just(1 << 63), 1 => (0..64_u32).prop_map(|bit| 1 << bit)
    ];
    let well_formed = (address, low, bits, rare)
        .prop_map(|(page, low, bits, rare)| page << 12 | low | bits | rare);
    prop_oneof![60 => well_formed, 1 => any::<u64>(), 1 => Just(0)]
}

fn state() -> impl Strategy<Value = PagingState> {
    let cr4 = prop_oneof![
        (Just(0), Just(0)),
        (Just(PSE), Just(0)),
        (Just(PAE), Just(0)),
        (Just(PAE), Just(LMA)),
        (Just(PAE | LA57), Just(LMA)),
    ];
    let flags = any::<[bool; 7]>();
    let pdptes =
        prop::array::uniform4((0..PAGES, 0..8_u64).prop_map(|(page, low)| page << 12 | low.min(1)));
    (cr4, flags, pdptes, 36..=52_u32).prop_map(|((cr4, efer), flags, pdptes, width)| {
        let [wp, smep, smap, nxe, ac, user, huge] = flags;
        let when = |flag, bit: u64| if flag { bit } else { 0 };
        PagingState {
            cr0: PG | 1 | when(wp, WP),
            cr3: 0x18,
            cr4: cr4 | when(smep, SMEP) | when(smap, SMAP),
            efer: efer | when(nxe, NXE),
            rflags: 2 | when(ac, 1 << 18),
            pdptes,
            cpl: if user { 3 } else { 0 },
            physical_address_width: width,
            has_1g_pages: huge,
            ..PagingState::default()
        }
    })
}

fn memory_of(entries: &[u64], size: u64) -> ModelMemory {
    let memory = ModelMemory::new((PAGES * 4096) as usize);
    for (at, entry) in (0..).zip(entries) {
        let place = at / ENTRIES * 4096 + at % ENTRIES * size;
        memory
            .write(place, &entry.to_le_bytes()[..size as usize])
            .unwrap();
    }
    memory
}

fn bytes(memory: &ModelMemory) -> Vec<u8> {
    let mut bytes = vec![0; (PAGES * 4096) as usize];
    memory.read(0, &mut bytes).unwrap();
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn agrees_with_the_model(
        entries in prop::collection::vec(entry(), (PAGES * ENTRIES) as usize),
        state in state(),
        indexes in prop::array::uniform5(prop_oneof![20 => 0..ENTRIES, 1 => 0..256_u64]),
        offset in 0..4096_u64,
        access in prop::sample::select(vec![Access::Read, Access::Write, Access::Fetch]),
    ) {
        let (bits, size, levels) = match (state.cr4 & PAE != 0, state.efer & LMA != 0) {
            (false, _) => (10, 4, 2),
            (true, false) => (9, 8, 3),
            (true, true) if state.cr4 & LA57 != 0 => (9, 8, 5),
            (true, true) => (9, 8, 4),
        };
        let indexes = indexes.into_iter().take(levels);
        let linear = indexes.fold(0, |linear, index| linear << bits | index) << 12 | offset;
        let linear = if levels < 4 { linear & 0xffff_ffff } else { linear };
        let ours = memory_of(&entries, size);
        let theirs = memory_of(&entries, size);
        let outcome = match translate(&ours, &state, linear, access) {
            Ok(address) => Outcome::Address(address),
            Err(PagingFault::PageFault(fault)) => {
                prop_assert_eq!(fault.address, linear);
                Outcome::PageFault(fault.error_code)
            }
            Err(PagingFault::Memory(_)) => Outcome::NoMemory,
            Err(fault) => panic!("{fault}"),
        };
        prop_assert_eq!(outcome, model::access(&theirs, &state, linear, access));
        prop_assert!(bytes(&ours) == bytes(&theirs));
    }
}
