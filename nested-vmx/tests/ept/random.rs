// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Random tables and accesses against the model.

use nested_vmx::capability::EptVpid;
use nested_vmx::ept::{Access, AccessKind, Ept, EptFault, Eptp, LinearPage, Origin};
use proptest::prelude::*;

use crate::memory::Memory;
use crate::model::{self, Outcome};
use crate::with;

/// How many pages there are, and how many entries of each are not 0.
const PAGES: u64 = 8;
const ENTRIES: u64 = 4;

/// An entry that is often well-formed, and leads to another page.
fn entry() -> impl Strategy<Value = u64> {
    let address =
        prop_oneof![60 => 0..PAGES, 2 => 0..PAGES + 2, 1 => Just(1 << 18), 1 => Just(1 << 30)];
    let rights = prop_oneof![30 => Just(7 | 1 << 10), 2 => Just(3), 2 => 0..8_u64];
    let kind =
        prop_oneof![40 => Just(0), 1 => Just(0x80), 1 => (0..32_u64).prop_map(|bits| bits << 3)];
    // Accessed, dirty, execute for user mode, the ignored bits 11 and 52, the one against #VE.
    let others = prop::sample::subsequence(vec![8, 9, 10, 11, 52, 63], 0..4)
        .prop_map(|bits| bits.into_iter().map(|bit: u32| 1 << bit).sum::<u64>());
    let well_formed = (address, rights, kind, others)
        .prop_map(|(page, rights, kind, others)| page << 12 | rights | kind | others);
    prop_oneof![60 => well_formed, 1 => any::<u64>(), 1 => Just(0)]
}

fn tables() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(entry(), (PAGES * ENTRIES) as usize)
}

fn memory_of(entries: &[u64]) -> Memory {
    let memory = Memory::new(PAGES as usize);
    for (at, entry) in (0..).zip(entries) {
        memory.set(at / ENTRIES * 4096 + at % ENTRIES * 8, *entry);
    }
    memory
}

fn guest_physical() -> impl Strategy<Value = u64> {
    let index = || prop_oneof![20 => 0..ENTRIES, 1 => 0..512_u64];
    let top = prop_oneof![20 => 0..ENTRIES, 1 => Just(511), 1 => Just(0xfff)];
    let parts = (top, index(), index(), index(), index(), 0..4096_u64);
    parts.prop_map(|(a, b, c, d, e, offset)| {
        a << 48 | b << 39 | c << 30 | d << 21 | e << 12 | offset
    })
}

fn access() -> impl Strategy<Value = Access> {
    let page = any::<(bool, bool, bool)>().prop_map(|(user, writable, execute_disable)| {
        Origin::Linear(LinearPage {
            user,
            writable,
            execute_disable,
        })
    });
    let origin = prop_oneof![Just(Origin::Physical), Just(Origin::PagingStructure), page];
    (1..8_u8, origin)
        .prop_map(|(kind, origin)| Access::new(AccessKind::from_bits_truncate(kind), origin))
}

fn capabilities() -> impl Strategy<Value = EptVpid> {
    prop_oneof![
        2 => Just(EptVpid::all()),
        1 => any::<u64>().prop_map(EptVpid::from_bits_truncate),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn agrees_with_the_model(
        entries in tables(),
        guest_physical in guest_physical(),
        access in access(),
        ept_vpid in capabilities(),
        five in any::<bool>(),
        flags in any::<bool>(),
        mode_based in any::<bool>(),
    ) {
        let guest_physical = if five { guest_physical } else { guest_physical & !(7 << 48) };
        let length = if five { 4 } else { 3 };
        let eptp = Eptp(u64::from(flags) << 6 | length << 3 | 6);
        let capabilities = with(ept_vpid);
        let ours = memory_of(&entries);
        let theirs = ours.clone();
        let ept = Ept::new(eptp, &capabilities, mode_based);
        let outcome = match ept.translate(&ours, guest_physical, &access, None) {
            Ok(page) => Outcome::Page {
                address: page.address,
                bytes: page.size.bytes(),
                memory_type: page.memory_type as u64,
            },
            Err(EptFault::Violation(violation)) => {
                prop_assert_eq!(violation.guest_physical, guest_physical);
                Outcome::Violation {
                    qualification: violation.qualification,
                    convertible: violation.convertible,
                }
            }
            Err(EptFault::Misconfiguration { .. }) => Outcome::Misconfiguration,
            Err(EptFault::Memory(_)) => Outcome::NoMemory,
            Err(fault) => panic!("{fault}"),
        };
        let model = (eptp, &capabilities, mode_based);
        prop_assert_eq!(outcome, model::access(&theirs, model, guest_physical, &access));
        prop_assert_eq!(ours, theirs);
    }
}
