// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Accessed and dirty flags, and the page-modification log (SDM volume 3, sections 30.3.5 and
//! 30.3.6).

use nested_vmx::controls::{PrimaryControls, SecondaryControls};
use nested_vmx::ept::{Access, AccessKind, Ept, EptFault, Origin, PageModificationLog};
use nested_vmx::vmcs::{Field, KVM_REVISION, Vmcs};

use crate::memory::Memory;
use crate::{ADDRESS, ENTRIES, READ, WB, WITH_FLAGS, WRITE, capabilities, plain, tables};

const ACCESSED: u64 = 1 << 8;
const DIRTY: u64 = 1 << 9;

const LOG: u64 = 0x6000;

fn with_flags() -> Ept {
    Ept::new(WITH_FLAGS, &capabilities(), false)
}

/// The flags of all entries, from the PML4E to the PTE.
fn flags(memory: &Memory) -> [u64; 4] {
    ENTRIES.map(|at| memory.get(at) & (ACCESSED | DIRTY))
}

#[test]
fn not_without_the_flag_in_the_eptp() {
    let memory = tables();
    let before = memory.clone();
    plain().translate(&memory, ADDRESS, &WRITE, None).unwrap();
    assert_eq!(memory, before);
}

#[test]
fn reads_and_writes() {
    let memory = tables();
    let page = with_flags().translate(&memory, ADDRESS, &READ, None);
    assert!(!page.unwrap().dirty);
    assert_eq!(flags(&memory), [ACCESSED; 4]);
    let page = with_flags().translate(&memory, ADDRESS, &WRITE, None);
    assert!(page.unwrap().dirty);
    let dirty = ACCESSED | DIRTY;
    assert_eq!(flags(&memory), [ACCESSED, ACCESSED, ACCESSED, dirty]);
    // Once dirty, reads find it so.
    let page = with_flags().translate(&memory, ADDRESS, &READ, None);
    assert!(page.unwrap().dirty);
}

#[test]
fn page_walks_make_dirty() {
    let memory = tables();
    let walk = Access::new(AccessKind::READ, Origin::PagingStructure);
    with_flags()
        .translate(&memory, ADDRESS, &walk, None)
        .unwrap();
    assert_eq!(flags(&memory)[3], ACCESSED | DIRTY);
}

#[test]
fn nothing_is_set_for_a_violation() {
    let memory = tables();
    memory.set(ENTRIES[3], 0x7000 | WB | 1);
    let before = memory.clone();
    let mut log = PageModificationLog::new(LOG, 511);
    let fault = with_flags().translate(&memory, ADDRESS, &WRITE, Some(&mut log));
    assert!(matches!(fault, Err(EptFault::Violation(_))));
    assert_eq!(memory, before);
    assert_eq!(log.index(), 511);
}

#[test]
fn entries_that_change_are_read_again() {
    for races in 1..8 {
        let memory = tables();
        memory.races.set(races);
        let mut log = PageModificationLog::new(LOG, 511);
        let ept = with_flags();
        ept.translate(&memory, ADDRESS, &WRITE, Some(&mut log))
            .unwrap();
        assert_eq!(flags(&memory)[3], ACCESSED | DIRTY);
        // The page is logged once.
        assert_eq!(log.index(), 510);
    }
}

#[test]
fn entries_that_keep_changing() {
    let memory = tables();
    memory.races.set(u32::MAX);
    let mut log = PageModificationLog::new(LOG, 511);
    let fault = with_flags().translate(&memory, ADDRESS, &WRITE, Some(&mut log));
    assert_eq!(fault, Err(EptFault::Changing));
    assert_eq!(log.index(), 511);
    assert_eq!(flags(&memory)[3] & DIRTY, 0);
}

#[test]
fn log_of_the_pages_that_become_dirty() {
    let memory = tables();
    let mut log = PageModificationLog::new(LOG, 1);
    let translate =
        |access, log: &mut _| with_flags().translate(&memory, ADDRESS, access, Some(log));
    translate(&READ, &mut log).unwrap();
    assert_eq!(log.index(), 1);
    translate(&WRITE, &mut log).unwrap();
    assert_eq!(log.index(), 0);
    assert_eq!(memory.get(LOG + 8), ADDRESS & !0xfff);
    // It is dirty already.
    translate(&WRITE, &mut log).unwrap();
    assert_eq!(log.index(), 0);
    // The last entry.
    memory.set(ENTRIES[3], memory.get(ENTRIES[3]) & !DIRTY);
    translate(&WRITE, &mut log).unwrap();
    assert_eq!(log.index(), 0xffff);
    assert_eq!(memory.get(LOG), ADDRESS & !0xfff);
    // Full: the access waits, and nothing is dirty.
    memory.set(ENTRIES[3], memory.get(ENTRIES[3]) & !DIRTY);
    let before = memory.clone();
    assert_eq!(translate(&WRITE, &mut log), Err(EptFault::LogFull));
    assert_eq!(memory, before);
    assert_eq!(log.index(), 0xffff);
    // Reads need no log.
    translate(&READ, &mut log).unwrap();
}

#[test]
fn an_index_beyond_the_log_is_full() {
    for index in [512, 0x8000, 0xffff] {
        let memory = tables();
        let mut log = PageModificationLog::new(LOG, index);
        let fault = with_flags().translate(&memory, ADDRESS, &WRITE, Some(&mut log));
        assert_eq!(fault, Err(EptFault::LogFull), "{index:#x}");
        assert_eq!(flags(&memory), [0; 4]);
    }
}

#[test]
fn a_log_that_is_no_memory() {
    let memory = tables();
    let mut log = PageModificationLog::new(0x10_0000, 511);
    let fault = with_flags().translate(&memory, ADDRESS, &WRITE, Some(&mut log));
    assert!(matches!(fault, Err(EptFault::Memory(_))));
    assert_eq!(flags(&memory), [0; 4]);
    assert_eq!(log.index(), 511);
}

#[test]
fn the_log_of_a_vmcs() {
    let mut vmcs12 = Vmcs::new(KVM_REVISION);
    vmcs12.write(Field::PmlAddress, LOG);
    vmcs12.write(Field::GuestPmlIndex, 17);
    let secondary = SecondaryControls::ENABLE_PML.bits();
    vmcs12.write(Field::SecondaryVmExecControl, secondary.into());
    assert_eq!(PageModificationLog::of(&vmcs12), None);
    let primary = PrimaryControls::ACTIVATE_SECONDARY_CONTROLS.bits();
    vmcs12.write(Field::CpuBasedVmExecControl, primary.into());
    let log = PageModificationLog::new(LOG, 17);
    assert_eq!(PageModificationLog::of(&vmcs12), Some(log));
}
