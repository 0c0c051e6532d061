// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! EPT violations and their exit qualifications (SDM volume 3, section 30.3.3.2 and table 29-7).

use nested_vmx::capability::EptVpid;
use nested_vmx::ept::{
    Access, AccessKind, Ept, EptFault, Eptp, MemoryType, Origin, PageSize, Permissions, Violation,
};

use crate::memory::Memory;
use crate::{
    ADDRESS, ENTRIES, PLAIN, READ, RWX, SUPERVISOR, USER, WB, WITH_FLAGS, WRITE, capabilities,
    plain, tables, with,
};

const FETCH: AccessKind = AccessKind::FETCH;

fn violation(ept: &Ept, memory: &Memory, access: &Access) -> Option<Violation> {
    match ept.translate(memory, ADDRESS, access, None) {
        Ok(_) => None,
        Err(EptFault::Violation(violation)) => Some(violation),
        Err(fault) => panic!("{fault}"),
    }
}

fn qualification(ept: &Ept, memory: &Memory, access: &Access) -> Option<u64> {
    violation(ept, memory, access).map(|violation| violation.qualification)
}

#[test]
fn no_violation() {
    let memory = tables();
    memory.set(ENTRIES[3], 0x7000 | RWX | 5 << 3 | 1 << 6);
    let page = plain().translate(&memory, ADDRESS, &READ, None).unwrap();
    assert_eq!(page.address, 0x7123);
    assert_eq!(page.size, PageSize::Size4K);
    assert_eq!(page.permissions, Permissions::all());
    assert_eq!(page.memory_type, MemoryType::WriteProtected);
    assert!(page.ignore_pat && page.dirty && !page.suppress_ve);
    assert!(!page.supervisor_shadow_stack);
}

#[test]
fn large_pages() {
    for (level, size) in [(1, PageSize::Size1G), (2, PageSize::Size2M)] {
        let memory = tables();
        let base = 3 << 30;
        memory.set(ENTRIES[level], base | RWX | WB | 0x80);
        let page = plain().translate(&memory, ADDRESS, &READ, None).unwrap();
        assert_eq!(page.size, size);
        assert_eq!(page.address, base + ADDRESS % size.bytes());
    }
}

#[test]
fn five_levels() {
    let memory = tables();
    memory.set(0x5000 + 0x1ff * 8, 0x1000 | RWX);
    let eptp = Eptp(0x5000 | 4 << 3 | 6);
    let ept = Ept::new(eptp, &capabilities(), false);
    let address = 0x1ff << 48 | ADDRESS;
    let page = ept.translate(&memory, address, &READ, None).unwrap();
    assert_eq!(page.address, 0x7123);
    // With four levels there is nothing up there, and no entry that makes it convertible.
    for (ept, address) in [(plain(), 1 << 48 | ADDRESS), (ept, 1 << 57 | address)] {
        let fault = ept.translate(&memory, address, &READ, None).unwrap_err();
        let violation = Violation {
            qualification: 0x581,
            guest_physical: address,
            convertible: false,
        };
        assert_eq!(fault, EptFault::Violation(violation));
    }
}

/// Bits 5:3: what all entries allow; nothing if one is not present.
#[test]
fn rights_of_all_entries() {
    for at in ENTRIES {
        let memory = tables();
        let entry = memory.get(at);
        memory.set(at, entry & !7 | 5);
        assert_eq!(qualification(&plain(), &memory, &READ), None);
        assert_eq!(
            qualification(&plain(), &memory, &WRITE),
            Some(0x582 | 5 << 3)
        );
        memory.set(at, entry & !7);
        assert_eq!(qualification(&plain(), &memory, &WRITE), Some(0x582));
    }
}

#[test]
fn kinds_of_access() {
    let memory = tables();
    memory.set(ENTRIES[3], 0x7000 | WB | 4);
    let kinds = AccessKind::READ | AccessKind::WRITE;
    let access = Access::new(kinds, SUPERVISOR);
    assert_eq!(
        qualification(&plain(), &memory, &access),
        Some(0x583 | 4 << 3)
    );
    memory.set(ENTRIES[3], 0x7000 | WB | 3);
    let access = Access::new(FETCH, SUPERVISOR);
    assert_eq!(
        qualification(&plain(), &memory, &access),
        Some(0x584 | 3 << 3)
    );
}

/// Bit 6 and the choice between bits 2 and 10 of the entries.
#[test]
fn mode_based_execute_control() {
    let ept = Ept::new(PLAIN, &capabilities(), true);
    let memory = tables();
    let supervisor = Access::new(FETCH, SUPERVISOR);
    let user = Access::new(FETCH, USER);
    memory.set(ENTRIES[3], 0x7000 | WB | 5);
    assert_eq!(qualification(&ept, &memory, &supervisor), None);
    assert_eq!(qualification(&ept, &memory, &user), Some(0x784 | 5 << 3));
    assert_eq!(qualification(&plain(), &memory, &user), None);
    memory.set(ENTRIES[3], 0x7000 | WB | 1 | 1 << 10);
    assert_eq!(qualification(&ept, &memory, &user), None);
    assert_eq!(
        qualification(&ept, &memory, &supervisor),
        Some(0x584 | 1 << 3 | 1 << 6)
    );
    assert_eq!(
        qualification(&plain(), &memory, &user),
        Some(0x784 | 1 << 3)
    );
}

/// Bits 7 and 8, and with advanced information bits 11:9.
#[test]
fn origins() {
    let memory = tables();
    memory.set(ENTRIES[3], 0);
    let of =
        |ept: &Ept, origin| qualification(ept, &memory, &Access::new(AccessKind::READ, origin));
    assert_eq!(of(&plain(), Origin::Physical), Some(1));
    assert_eq!(of(&plain(), Origin::PagingStructure), Some(0x81));
    assert_eq!(of(&plain(), USER), Some(0x781));
    let without = with(EptVpid::all() - EptVpid::ADVANCED_EXIT_INFORMATION);
    assert_eq!(of(&Ept::new(PLAIN, &without, false), USER), Some(0x181));
}

/// With accessed and dirty flags, the guest's page walks write.
#[test]
fn page_walks() {
    let memory = tables();
    memory.set(ENTRIES[3], 0x7000 | WB | 5);
    let walk = Access::new(AccessKind::READ, Origin::PagingStructure);
    assert_eq!(qualification(&plain(), &memory, &walk), None);
    let ept = Ept::new(WITH_FLAGS, &capabilities(), false);
    assert_eq!(qualification(&ept, &memory, &walk), Some(0x83 | 5 << 3));
}

#[test]
fn what_the_caller_knows() {
    let memory = tables();
    memory.set(ENTRIES[3], 0);
    let access = Access {
        nmi_unblocking: true,
        shadow_stack: true,
        asynchronous: true,
        ..READ
    };
    let value = qualification(&plain(), &memory, &access).unwrap();
    assert_eq!(value, 0x581 | 1 << 12 | 1 << 13 | 1 << 16);
    assert_eq!(Access::from_qualification(value), access);
    for origin in [Origin::Physical, Origin::PagingStructure, USER] {
        let access = Access::new(AccessKind::READ, origin);
        let value = qualification(&plain(), &memory, &access).unwrap();
        assert_eq!(Access::from_qualification(value), access);
    }
}

/// With the control, a supervisor shadow-stack access needs bit 60 of the page's entry, and writable
/// entries above, but not a writable page.
#[test]
fn supervisor_shadow_stacks() {
    let controlled = Ept::new(Eptp(PLAIN.0 | 1 << 7), &capabilities(), false);
    let access = Access {
        shadow_stack: true,
        ..WRITE
    };
    let memory = tables();
    memory.set(ENTRIES[3], 0x7000 | WB | 1 | 1 << 60);
    assert_eq!(qualification(&controlled, &memory, &access), None);
    let page = controlled.translate(&memory, ADDRESS, &READ, None).unwrap();
    assert!(page.supervisor_shadow_stack);
    // An ordinary write is none, and bit 14 tells of the page.
    let expected = 0x582 | 1 << 3 | 1 << 14;
    assert_eq!(qualification(&controlled, &memory, &WRITE), Some(expected));
    // Without the control, the page has to be writable.
    let expected = 0x582 | 1 << 3 | 1 << 13;
    assert_eq!(qualification(&plain(), &memory, &access), Some(expected));
    memory.set(ENTRIES[3], 0x7000 | WB | 3);
    assert_eq!(qualification(&plain(), &memory, &access), None);
    let expected = 0x582 | 3 << 3 | 1 << 13;
    assert_eq!(qualification(&controlled, &memory, &access), Some(expected));
    memory.set(ENTRIES[3], 0x7000 | WB | 1 | 1 << 60);
    memory.set(ENTRIES[2], 0x4000 | 5);
    assert!(qualification(&controlled, &memory, &access).is_some());
}

#[test]
fn bit_63_of_the_entry_that_counts() {
    let convertible = |level: usize, entry| {
        let memory = tables();
        memory.set(ENTRIES[level], entry);
        violation(&plain(), &memory, &WRITE).unwrap().convertible
    };
    for level in 0..4 {
        assert!(convertible(level, 0));
        assert!(!convertible(level, 1 << 63));
    }
    assert!(convertible(3, 0x7000 | WB | 1));
    assert!(!convertible(3, 0x7000 | WB | 1 | 1 << 63));
    // Not that of an entry that references a table.
    assert!(convertible(2, 0x4000 | 1 | 1 << 63));
}

#[test]
fn tables_that_are_no_memory() {
    let memory = tables();
    memory.set(ENTRIES[1], 0x10_0000 | RWX);
    let fault = plain().translate(&memory, ADDRESS, &READ, None);
    let Err(EptFault::Memory(error)) = fault else {
        panic!("{fault:?}");
    };
    assert_eq!((error.address, error.length), (0x10_0008, 8));
}

/// Each level's table is the same page.
#[test]
fn tables_that_refer_to_themselves() {
    let memory = Memory::new(2);
    for at in 0..512 {
        memory.set(0x1000 + at * 8, 0x1000 | RWX);
    }
    for eptp in [PLAIN, WITH_FLAGS] {
        let ept = Ept::new(eptp, &capabilities(), false);
        let page = ept.translate(&memory, ADDRESS, &WRITE, None).unwrap();
        assert_eq!(page.address, 0x1123);
    }
}
