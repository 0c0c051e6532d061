// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! L2 exits from its handlers, whatever was written over them since it was first entered.

use iced_x86::code_asm::*;
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::vmcs::Field;

use crate::child::check;
use crate::ept::{EPTP, put_identity};
use crate::l1::{Controls, L1, emit};
use crate::layout;
use crate::routines::stubs;
use crate::tables::{CODE_64, DATA, STUB};

const INVALID_OPCODE: u64 = 6;
const STUB_6: u64 = layout::L2_STUBS + STUB * INVALID_OPCODE;
const GATE_6: u64 = layout::L2_IDT + 16 * INVALID_OPCODE;
/// CPUID, and HLT behind it.
const CPUID: u64 = 0xf4f4_f4f4_f4f4_a20f;

/// The handler as it was.
fn stub_6() -> u64 {
    let stubs = stubs(layout::L2_STUBS, layout::L2_FRAME, true);
    let at = (STUB_6 - layout::L2_STUBS) as usize;
    u64::from_le_bytes(stubs[at..at + 8].try_into().unwrap())
}

fn enter(l1: &mut L1, controls: Controls, name: &str, program: u64, reason: ExitReason, rip: u64) {
    l1.new_vmcs(
        controls,
        &[(Field::EptPointer, EPTP), (Field::GuestRip, program)],
    );
    l1.enter(name, reason, &[(Field::GuestRip, rip)]);
}

#[test]
fn what_l1_or_l2_writes_over_a_handler_exits() {
    for controls in [Controls::ept(), Controls::LONG] {
        check(|| {
            let mut l1 = L1::in_vmx();
            put_identity(&mut l1);
            let raises = l1.l2(|asm| emit!(asm, ud2();));
            let writes = l1.l2(|asm| {
                emit!(asm,
                    mov(rax, CPUID);
                    mov(qword_ptr(STUB_6), rax);
                    ud2();
                );
            });
            l1.new_vmcs(
                controls,
                &[(Field::EptPointer, EPTP), (Field::GuestRip, raises)],
            );
            l1.enter("as it was", ExitReason::VMCALL, &[]);
            l1.word("vector", layout::L2_FRAME, INVALID_OPCODE);
            enter(
                &mut l1,
                controls,
                "by L2",
                writes,
                ExitReason::CPUID,
                STUB_6,
            );
            l1.store(STUB_6, stub_6());
            l1.new_vmcs(
                controls,
                &[(Field::EptPointer, EPTP), (Field::GuestRip, raises)],
            );
            l1.enter("restored", ExitReason::VMCALL, &[]);
            l1.store(STUB_6, CPUID);
            enter(
                &mut l1,
                controls,
                "by L1",
                raises,
                ExitReason::CPUID,
                STUB_6,
            );
            l1
        });
    }
}

/// The gate leads to a large page that is the lowest one first, and another one then.
#[test]
fn a_handler_in_another_page_exits() {
    const ALIAS: u64 = 4 << 20;
    const OTHER: u64 = 10 << 20;
    const ENTRY: u64 = layout::PD + 8 * (ALIAS >> 21);
    const LARGE_PAGE: u64 = 0xe3;
    check(|| {
        let mut l1 = L1::in_vmx();
        let stub = ALIAS + STUB_6;
        l1.store(ENTRY, LARGE_PAGE);
        let gate = stub & 0xffff | u64::from(CODE_64) << 16 | 0x8e00 << 32 | stub >> 16 << 48;
        l1.store(GATE_6, gate);
        l1.store(OTHER + STUB_6, CPUID);
        let raises = l1.l2(|asm| emit!(asm, ud2();));
        let moves = l1.l2(|asm| {
            emit!(asm,
                mov(qword_ptr(ENTRY), (OTHER | LARGE_PAGE) as i32);
                mov(eax, ALIAS as u32);
                invlpg(ptr(rax));
                ud2();
            );
        });
        l1.new_vmcs(Controls::LONG, &[(Field::GuestRip, raises)]);
        l1.enter("the lowest", ExitReason::VMCALL, &[]);
        l1.word("vector", layout::L2_FRAME, INVALID_OPCODE);
        enter(
            &mut l1,
            Controls::LONG,
            "the other",
            moves,
            ExitReason::CPUID,
            stub,
        );
        l1
    });
}

/// Where IRET leads, the code segment says.
#[test]
fn l2_exits_behind_an_iret_to_a_segment_that_begins_elsewhere() {
    const BASE: u64 = 0x1_0000;
    const SELECTOR: u64 = 0x28;
    /// 32-bit code.
    const CODE_AT_BASE: u64 = 0x00cf_9b00_0000_ffff | BASE << 16;
    check(|| {
        let mut l1 = L1::in_vmx();
        l1.store(layout::GDT + SELECTOR, CODE_AT_BASE);
        let returned = l1.l2_of(32, |asm| emit!(asm, cpuid(); hlt();));
        let program = l1.l2(|asm| {
            emit!(asm,
                push(i32::from(DATA));
                push(layout::L2_STACK as i32);
                push(2);
                push(SELECTOR as i32);
                push((returned - BASE) as i32);
                iretq();
            );
        });
        l1.new_vmcs(Controls::LONG, &[(Field::GuestRip, program)]);
        l1.enter(
            "IRET",
            ExitReason::CPUID,
            &[
                (Field::GuestRip, returned - BASE),
                (Field::GuestCsBase, BASE),
                (Field::GuestCsSelector, SELECTOR),
            ],
        );
        l1
    });
}
