// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! EPT paging structures: what an L2 needs, and what no L2 can live with.

use iced_x86::code_asm::*;
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::vmcs::Field;

use crate::child::check;
use crate::l1::{Controls, L1, emit};
use crate::layout;
use crate::tables::words;

/// Readable, writable, executable.
pub const ALL: u64 = 7;
/// A page that is write-back memory.
pub const PAGE: u64 = 6 << 3 | ALL;
pub const LARGE: u64 = 1 << 7;
/// Four levels, write-back.
pub const EPTP: u64 = layout::EPT | 0x1e;

/// Where a page of the lowest 2 MiB has its entry.
pub fn entry_of(page: u64) -> u64 {
    layout::EPT_PT + (page >> 12) * 8
}

/// Structures with which L2 has the lowest GiB as it is, 4 KiB pages below 2 MiB.
pub fn put_identity(l1: &mut L1) {
    let large = (0..512).map(|page| match page {
        0 => layout::EPT_PT | ALL,
        page => page << 21 | LARGE | PAGE,
    });
    let small = (0..512).map(|page| page << 12 | PAGE);
    l1.put(layout::EPT, words(&[layout::EPT_PDPT | ALL]));
    l1.put(
        layout::EPT_PDPT,
        words(&[layout::EPT_PD | ALL, layout::EPT_SECOND_PD | ALL]),
    );
    l1.put(layout::EPT_PD, words(&large.collect::<Vec<_>>()));
    l1.put(layout::EPT_PT, words(&small.collect::<Vec<_>>()));
    l1.put(layout::EPT_SECOND_PD, words(&[layout::EPT_SECOND_PT | ALL]));
}

/// Has an entry that is wrong, enters L2, and restores the entry.
fn enter_with(
    l1: &mut L1,
    (name, at, entry, right): (&str, u64, u64, u64),
    rip: u64,
    reason: ExitReason,
    fields: &[(Field, u64)],
) {
    l1.store(at, entry);
    l1.invept();
    l1.new_vmcs(
        Controls::ept(),
        &[(Field::EptPointer, EPTP), (Field::GuestRip, rip)],
    );
    l1.enter(name, reason, fields);
    l1.store(at, right);
}

/// L2's first access: to the root of its page tables.
const FIRST: (Field, u64) = (Field::GuestPhysicalAddress, layout::PML4);
/// A paging structure is read, to translate a linear address, and nothing is allowed.
const NO_TABLE: (Field, u64) = (Field::ExitQualification, 0x81);

#[test]
fn structures_that_contain_themselves_end_somewhere() {
    check(|| {
        let mut l1 = L1::in_vmx();
        put_identity(&mut l1);
        let call = l1.l2(|asm| emit!(asm, vmcall();));
        let linear = (Field::GuestLinearAddress, call);
        // The root is its own table on all levels. Only its first entry is there.
        let root = (
            "root",
            layout::EPT,
            layout::EPT | ALL,
            layout::EPT_PDPT | ALL,
        );
        let violation = ExitReason::EPT_VIOLATION;
        enter_with(&mut l1, root, call, violation, &[FIRST, NO_TABLE, linear]);
        // The lower levels.
        let second = (
            "second",
            layout::EPT_PDPT,
            layout::EPT_PDPT | ALL,
            layout::EPT_PD | ALL,
        );
        enter_with(&mut l1, second, call, violation, &[FIRST, NO_TABLE, linear]);
        // A table of pages that is a page of L2's: the table of page tables' page.
        let page = entry_of(layout::PML4);
        let third = ("third", page, layout::EPT_PT | PAGE, layout::PML4 | PAGE);
        enter_with(&mut l1, third, call, ExitReason::TRIPLE_FAULT, &[]);
        l1.invept();
        l1.new_vmcs(
            Controls::ept(),
            &[(Field::EptPointer, EPTP), (Field::GuestRip, call)],
        );
        l1.enter("call", ExitReason::VMCALL, &[]);
        l1
    });
}

#[test]
fn misconfigured_entries_are_told_with_the_address() {
    check(|| {
        let mut l1 = L1::in_vmx();
        put_identity(&mut l1);
        let call = l1.l2(|asm| emit!(asm, vmcall();));
        let page = entry_of(layout::PML4);
        let levels = [
            ("root", layout::EPT, layout::EPT_PDPT | ALL),
            ("PDPT", layout::EPT_PDPT, layout::EPT_PD | ALL),
            ("PD", layout::EPT_PD, layout::EPT_PT | ALL),
            ("PT", page, layout::PML4 | PAGE),
        ];
        let reason = ExitReason::EPT_MISCONFIGURATION;
        for (name, at, right) in levels {
            // Writable and not readable.
            for (what, entry) in [
                ("write only", right & !5),
                ("no read", right & !1),
                ("too wide", right | 1 << 51),
            ] {
                let wrong = (&*format!("{name} {what}"), at, entry, right);
                enter_with(&mut l1, wrong, call, reason, &[FIRST]);
            }
        }
        for (name, at, right) in &levels[..3] {
            let wrong = (&*format!("{name} reserved"), *at, right | 1 << 3, *right);
            enter_with(&mut l1, wrong, call, reason, &[FIRST]);
        }
        let large_root = ("root large", layout::EPT, layout::EPT_PDPT | ALL | LARGE);
        let wrong = (
            large_root.0,
            large_root.1,
            large_root.2,
            layout::EPT_PDPT | ALL,
        );
        enter_with(&mut l1, wrong, call, reason, &[FIRST]);
        let odd_type = (
            "memory type",
            page,
            layout::PML4 | 2 << 3 | ALL,
            layout::PML4 | PAGE,
        );
        enter_with(&mut l1, odd_type, call, reason, &[FIRST]);
        // Structures that are no memory are all ones.
        let nowhere = (
            "nowhere",
            layout::EPT,
            layout::NOTHING | ALL,
            layout::EPT_PDPT | ALL,
        );
        enter_with(&mut l1, nowhere, call, reason, &[FIRST]);
        let device = (
            "device",
            layout::EPT_PD,
            layout::DEVICE | ALL,
            layout::EPT_PT | ALL,
        );
        enter_with(&mut l1, device, call, reason, &[FIRST]);
        l1
    });
}

#[test]
fn violations_are_told_with_the_address_and_what_is_allowed() {
    check(|| {
        let mut l1 = L1::in_vmx();
        put_identity(&mut l1);
        let reads = l1.l2(|asm| emit!(asm, mov(rbx, qword_ptr(0x18_1238)); vmcall();));
        let writes = l1.l2(|asm| emit!(asm, mov(qword_ptr(0x18_1238), rbx); vmcall();));
        let jumps = l1.l2(|asm| emit!(asm, mov(eax, 0x18_1238); jmp(rax);));
        let violation = ExitReason::EPT_VIOLATION;
        for (name, table) in [
            ("PML4", layout::PML4),
            ("PDPT", layout::PDPT),
            ("PD", layout::PD),
        ] {
            let hole = (name, entry_of(table), 0, table | PAGE);
            let at = (Field::GuestPhysicalAddress, table);
            let linear = (Field::GuestLinearAddress, reads);
            enter_with(&mut l1, hole, reads, violation, &[at, NO_TABLE, linear]);
        }
        let (page, right) = (entry_of(0x18_1000), 0x18_1000 | PAGE);
        let at = (Field::GuestPhysicalAddress, 0x18_1238);
        let linear = (Field::GuestLinearAddress, 0x18_1238);
        for (name, program, allowed, qualification) in [
            ("read, nothing allowed", reads, 0, 0x181),
            ("read, execution allowed", reads, 4, 0x1a1),
            ("write, nothing allowed", writes, 0, 0x182),
            ("write, reading allowed", writes, 1, 0x18a),
            ("write, execution allowed, too", writes, 5, 0x1aa),
        ] {
            let wrong = (name, page, right & !ALL | allowed, right);
            let fields = [
                at,
                (Field::ExitQualification, qualification),
                linear,
                (Field::GuestRip, program),
            ];
            enter_with(&mut l1, wrong, program, violation, &fields);
        }
        // L2 has got there.
        for (name, allowed, qualification) in [
            ("fetch, nothing allowed", 0, 0x184),
            ("fetch, reading allowed", 1, 0x18c),
            ("fetch, writing allowed, too", 3, 0x19c),
        ] {
            let wrong = (name, page, right & !ALL | allowed, right);
            let fields = [
                at,
                (Field::ExitQualification, qualification),
                linear,
                (Field::GuestRip, 0x18_1238),
            ];
            enter_with(&mut l1, wrong, jumps, violation, &fields);
        }
        // A violation that L1 removes lets L2 go on.
        l1.store(page, 0);
        l1.invept();
        l1.new_vmcs(
            Controls::ept(),
            &[(Field::EptPointer, EPTP), (Field::GuestRip, reads)],
        );
        l1.enter("read", violation, &[at]);
        l1.store(page, right);
        l1.enter(
            "read again",
            ExitReason::VMCALL,
            &[(Field::GuestRip, reads + 8)],
        );
        l1
    });
}

#[test]
fn an_l2_that_has_no_memory_at_all_is_shut_down() {
    check(|| {
        let mut l1 = L1::in_vmx();
        put_identity(&mut l1);
        let call = l1.l2(|asm| emit!(asm, vmcall();));
        let right = layout::EPT_PT | ALL;
        for (name, to) in [
            ("behind memory", layout::MEMORY),
            ("nothing", layout::NOTHING),
            ("2^39", 1 << 39),
        ] {
            // Page tables are all ones, and so is the way to a handler.
            let wrong = (name, layout::EPT_PD, to | LARGE | PAGE, right);
            enter_with(&mut l1, wrong, call, ExitReason::TRIPLE_FAULT, &[]);
        }
        // Only code is no memory.
        let page = entry_of(layout::L2_CODE);
        let code = ("code", page, layout::MEMORY | PAGE, layout::L2_CODE | PAGE);
        enter_with(&mut l1, code, call, ExitReason::VMCALL, &[]);
        l1.word("vector", layout::L2_FRAME, 6);
        l1.word("RIP", layout::L2_FRAME + 16, call);
        l1
    });
}
