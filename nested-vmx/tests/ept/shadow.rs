// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Entries for L0's own tables.

use nested_vmx::ept::{Ept, HostPage, MemoryType, PageSize, Permissions, ShadowEntry, Translation};
use proptest::prelude::*;

use crate::{ADDRESS, READ, WITH_FLAGS, WRITE, capabilities, tables};

const SIZES: [PageSize; 3] = [PageSize::Size4K, PageSize::Size2M, PageSize::Size1G];

fn host() -> HostPage {
    HostPage {
        address: 0x4000_0000,
        size: PageSize::Size1G,
        permissions: Permissions::all(),
        memory_type: MemoryType::WriteBack,
        ignore_pat: false,
    }
}

#[test]
fn the_first_write_comes_to_l0() {
    let memory = tables();
    let ept = Ept::new(WITH_FLAGS, &capabilities(), false);
    let entry = |access| {
        let page = ept.translate(&memory, ADDRESS, access, None).unwrap();
        ShadowEntry::combine(ADDRESS, &page, &host())
    };
    let read = entry(&READ);
    assert_eq!(read.permissions, Permissions::all() - Permissions::WRITE);
    assert_eq!(read.guest_physical, ADDRESS & !0xfff);
    assert_eq!(read.address, 0x4000_7000);
    assert_eq!(read.size, PageSize::Size4K);
    assert_eq!(entry(&WRITE).permissions, Permissions::all());
}

#[test]
fn memory_types() {
    let memory = tables();
    let ept = Ept::new(WITH_FLAGS, &capabilities(), false);
    let page = Translation {
        memory_type: MemoryType::WriteThrough,
        ignore_pat: true,
        ..ept.translate(&memory, ADDRESS, &READ, None).unwrap()
    };
    for (memory_type, ignore_pat, expected) in [
        (
            MemoryType::WriteBack,
            false,
            (MemoryType::WriteThrough, true),
        ),
        (MemoryType::WriteBack, true, (MemoryType::WriteBack, true)),
        (
            MemoryType::Uncacheable,
            false,
            (MemoryType::Uncacheable, false),
        ),
    ] {
        let host = HostPage {
            memory_type,
            ignore_pat,
            ..host()
        };
        let entry = ShadowEntry::combine(ADDRESS, &page, &host);
        assert_eq!((entry.memory_type, entry.ignore_pat), expected);
    }
}

proptest! {
    /// Every address in the page goes where both maps, one after the other, take it.
    #[test]
    fn the_same_as_both_maps(
        guest_physical in 0..1_u64 << 48,
        target in 0..1_u64 << 40,
        frame in 0..1_u64 << 10,
        size in prop::sample::select(&SIZES[..]),
        host_size in prop::sample::select(&SIZES[..]),
        rights in 0..16_u8,
        host_rights in 0..16_u8,
        inside in any::<u64>(),
    ) {
        let l1 = |address: u64| (target & !(size.bytes() - 1)) | size.offset(address);
        let translation = Translation {
            address: l1(guest_physical),
            size,
            permissions: Permissions::from_bits_retain(rights),
            memory_type: MemoryType::WriteBack,
            ignore_pat: false,
            dirty: true,
            supervisor_shadow_stack: false,
            suppress_ve: false,
        };
        let host_base = (frame << 30) & !(host_size.bytes() - 1);
        let host = HostPage {
            address: host_base,
            size: host_size,
            permissions: Permissions::from_bits_retain(host_rights),
            ..host()
        };
        let entry = ShadowEntry::combine(guest_physical, &translation, &host);
        prop_assert_eq!(entry.permissions.bits(), rights & host_rights);
        prop_assert_eq!(entry.size, size.min(host_size));
        let offset = entry.size.offset(inside);
        let both = host_base + host_size.offset(l1(entry.guest_physical + offset));
        prop_assert_eq!(entry.address + offset, both);
        prop_assert_eq!(entry.size.offset(entry.address), 0);
    }
}
