// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! L2 reaches no memory but L1's, whatever L1's EPT says.

use iced_x86::code_asm::*;
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::vmcs::Field;

use crate::child::check;
use crate::ept::{ALL, EPTP, LARGE, PAGE, put_identity};
use crate::l1::{Controls, L1, emit};
use crate::layout;
use crate::tables::words;
use crate::vmcs12::CR4;

/// What L1 has in its memory, and what L2 writes.
const PATTERN: u64 = 0x0123_4567_89ab_cdef;
const WRITTEN: u64 = 0x5555_aaaa_1111_eeee;
const ONES: u64 = u64::MAX;

const LAST_PAGE: u64 = layout::MEMORY - 0x1000;
/// What L1 fills: memory that nothing else uses.
const FILLED: u64 = 0x20_0000;

/// Where the EPT leads L2, page by page, from [`SECOND`] on.
const PAGES: [(&str, u64, bool); 7] = [
    ("behind memory", layout::MEMORY, false),
    ("last page", LAST_PAGE, true),
    ("gap of devices", 0xd000_0000, false),
    ("below 4 GiB", 0xffff_f000 - 0x10_0000, false),
    ("4 GiB", 1 << 32, false),
    ("2^39", 1 << 39, false),
    ("nothing", layout::NOTHING, false),
];
const SECOND: u64 = 1 << 30;
/// Of which L1's EPT makes the lowest GiB, in one page.
const THIRD: u64 = 2 << 30;

/// Reads, writes and reads a word; tells what was read.
fn access(asm: &mut CodeAssembler, address: u64) {
    emit!(asm,
        mov(rdi, address);
        mov(rsi, WRITTEN);
        mov(rax, qword_ptr(rdi));
        mov(qword_ptr(layout::L2_DATA), rax);
        mov(qword_ptr(rdi), rsi);
        mov(rax, qword_ptr(rdi));
        mov(qword_ptr(layout::L2_DATA + 8), rax);
        vmcall();
    );
}

/// Fills the first word of each page.
fn fill(l1: &mut L1) {
    let mut next = l1.asm.create_label();
    emit!(l1.asm,
        mov(edi, FILLED as u32);
        mov(rax, PATTERN);
        set_label(&mut next);
        mov(qword_ptr(rdi), rax);
        add(edi, 0x1000);
        cmp(edi, layout::MEMORY as u32);
        jb(next);
    );
}

/// Counts the pages below the last whose first word has changed.
fn count_changed(l1: &mut L1) {
    l1.value("changed", 0, |asm| {
        let mut next = asm.create_label();
        let mut same = asm.create_label();
        emit!(asm,
            mov(edi, FILLED as u32);
            mov(rdx, PATTERN);
            xor(eax, eax);
            set_label(&mut next);
            cmp(qword_ptr(rdi), rdx);
            je(same);
            inc(eax);
            set_label(&mut same);
            add(edi, 0x1000);
            cmp(edi, LAST_PAGE as u32);
            jb(next);
        );
    });
}

#[test]
fn l2_reaches_what_is_l1s_memory_and_nothing_else() {
    check(|| {
        let mut l1 = L1::in_vmx();
        put_identity(&mut l1);
        let pages: Vec<u64> = PAGES.iter().map(|(_, to, _)| to | PAGE).collect();
        l1.put(layout::EPT_SECOND_PT, words(&pages));
        fill(&mut l1);
        l1.new_vmcs(Controls::ept(), &[(Field::EptPointer, EPTP)]);
        for (page, (name, _, is_memory)) in PAGES.into_iter().enumerate() {
            let program = l1.l2(|asm| access(asm, SECOND + 0x1000 * page as u64));
            l1.write(&[(Field::GuestRip, program)]);
            l1.enter(name, ExitReason::VMCALL, &[]);
            let (before, after) = match is_memory {
                true => (PATTERN, WRITTEN),
                false => (ONES, ONES),
            };
            l1.word("before", layout::L2_DATA, before);
            l1.word("after", layout::L2_DATA + 8, after);
        }
        l1.word("last page", LAST_PAGE, WRITTEN);
        count_changed(&mut l1);
        l1
    });
}

#[test]
fn a_page_of_which_a_part_is_memory_has_that_part() {
    check(|| {
        let mut l1 = L1::in_vmx();
        put_identity(&mut l1);
        l1.put(layout::EPT_PDPT + 16, words(&[LARGE | PAGE]));
        fill(&mut l1);
        l1.new_vmcs(Controls::ept(), &[(Field::EptPointer, EPTP)]);
        for (name, at, before, after) in [
            ("first of last page", LAST_PAGE, PATTERN, WRITTEN),
            ("last word", layout::MEMORY - 8, 0, WRITTEN),
            ("behind", layout::MEMORY, ONES, ONES),
            ("far behind", SECOND - 8, ONES, ONES),
            (
                "across the end",
                layout::MEMORY - 4,
                0xffff_ffff_0000_0000 | WRITTEN >> 32,
                0xffff_ffff_0000_0000 | WRITTEN & 0xffff_ffff,
            ),
        ] {
            let program = l1.l2(|asm| access(asm, THIRD + at));
            l1.write(&[(Field::GuestRip, program)]);
            l1.enter(name, ExitReason::VMCALL, &[]);
            l1.word("before", layout::L2_DATA, before);
            l1.word("after", layout::L2_DATA + 8, after);
        }
        l1.word("last page", LAST_PAGE, WRITTEN);
        let last_word = WRITTEN << 32 | WRITTEN & 0xffff_ffff;
        l1.word("last word", layout::MEMORY - 8, last_word);
        count_changed(&mut l1);
        l1
    });
}

#[test]
fn without_ept_l2_reaches_what_l1_does() {
    check(|| {
        let mut l1 = L1::in_vmx();
        fill(&mut l1);
        l1.new_vmcs(Controls::LONG, &[]);
        for (name, at, before, after) in [
            ("last page", LAST_PAGE, PATTERN, WRITTEN),
            ("behind memory", layout::MEMORY, ONES, ONES),
            ("gap of devices", 0xd000_0000, ONES, ONES),
        ] {
            let program = l1.l2(|asm| access(asm, at));
            l1.write(&[(Field::GuestRip, program)]);
            l1.enter(name, ExitReason::VMCALL, &[]);
            l1.word("before", layout::L2_DATA, before);
            l1.word("after", layout::L2_DATA + 8, after);
        }
        count_changed(&mut l1);
        l1
    });
}

/// Of 16 bytes KVM makes two accesses.
#[test]
fn l2_reaches_no_device_that_its_ept_does_not_lead_to() {
    const OSFXSR: u64 = 1 << 9;
    /// Its second half begins with the local APIC's version.
    const ACROSS: u64 = layout::DEVICE + 0x28;
    check(|| {
        let mut l1 = L1::in_vmx();
        put_identity(&mut l1);
        let last_gib = layout::EPT_PDPT + 8 * 3;
        let large = layout::EPT_SECOND_PD + 8 * (layout::DEVICE >> 21 & 0x1ff);
        l1.store(last_gib, layout::EPT_SECOND_PD | ALL);
        l1.store(large, layout::EPT_SECOND_PT | ALL);
        l1.value("version", 1, |asm| {
            emit!(asm,
                mov(rdi, layout::DEVICE + 0x30);
                mov(eax, dword_ptr(rdi));
                cmp(eax, -1);
                setne(al);
                movzx(eax, al);
            );
        });
        let program = l1.l2(|asm| {
            emit!(asm,
                mov(rdi, ACROSS);
                movdqu(xmm0, xmmword_ptr(rdi));
                movdqu(xmmword_ptr(layout::L2_DATA), xmm0);
                movdqu(xmm0, xmmword_ptr(layout::L2_DATA + 32));
                movdqu(xmmword_ptr(rdi), xmm0);
                movdqu(xmm0, xmmword_ptr(rdi));
                movdqu(xmmword_ptr(layout::L2_DATA + 16), xmm0);
                vmcall();
            );
        });
        for (name, leads_to, before, after) in [
            ("nothing", layout::NOTHING, ONES, ONES),
            ("memory", FILLED, 0x1111, 0),
        ] {
            l1.store(layout::EPT_SECOND_PT, leads_to | PAGE);
            l1.store(FILLED + 0x28, 0x1111);
            l1.store(FILLED + 0x30, 0x1111);
            l1.invept();
            l1.new_vmcs(
                Controls::ept(),
                &[
                    (Field::EptPointer, EPTP),
                    (Field::GuestRip, program),
                    (Field::GuestCr4, CR4 | OSFXSR),
                ],
            );
            l1.enter(name, ExitReason::VMCALL, &[]);
            for (at, expected) in [(0, before), (8, before), (16, after), (24, after)] {
                l1.word("word", layout::L2_DATA + at, expected);
            }
        }
        l1
    });
}
