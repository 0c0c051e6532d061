// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What an L2 with EPT uses now and then: far ends of tables, other stacks, instructions that are
//! not for devices. Nothing of it was visible to L2 before, and each of it is in a large page of its
//! own.

use iced_x86::code_asm::*;
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::vmcs::Field;

use crate::child::check;
use crate::ept::{EPTP, PAGE, put_identity};
use crate::l1::{Controls, L1, emit};
use crate::layout;
use crate::tables::{CODE_64, DATA};
use crate::vmcs12::CR4;

/// Present 64-bit code, and data.
const CODE: u64 = 0x00af_9b00_0000_ffff;
const SEGMENT: u64 = 0x00cf_9300_0000_ffff;
const INVALID_OPCODE: u64 = 6;
const GENERAL_PROTECTION: u64 = 13;
/// A table whose second page is another large page's.
const TABLE: u64 = 0x7f_f000;
const STACK: u64 = 0xc0_1000;

fn enter(
    l1: &mut L1,
    name: &str,
    program: u64,
    fields: &[(Field, u64)],
    expected: &[(Field, u64)],
) {
    let mut all = vec![
        (Field::EptPointer, EPTP),
        (Field::GuestRip, program),
        (Field::GuestCr4, CR4 | 1 << 9),
    ];
    all.extend(fields);
    l1.new_vmcs(Controls::ept(), &all);
    l1.enter(name, ExitReason::VMCALL, expected);
}

#[test]
fn segments_come_from_all_of_a_table() {
    const LAST: u64 = 0x1ff8;
    /// In the LDT.
    const BEHIND: u64 = 0x2004;
    check(|| {
        let mut l1 = L1::in_vmx();
        put_identity(&mut l1);
        for (selector, descriptor) in [
            (CODE_64.into(), CODE),
            (DATA.into(), SEGMENT),
            (LAST, SEGMENT),
        ] {
            l1.store(TABLE + selector, descriptor);
        }
        let loads = |asm: &mut CodeAssembler, selector: u64| {
            emit!(asm, mov(eax, selector as u32); mov(es, eax); vmcall(););
        };
        let program = l1.l2(|asm| loads(asm, LAST));
        let table = [
            (Field::GuestGdtrBase, TABLE),
            (Field::GuestGdtrLimit, LAST + 7),
        ];
        let loaded = [(Field::GuestEsSelector, LAST)];
        enter(&mut l1, "GDT", program, &table, &loaded);
        let program = l1.l2(|asm| loads(asm, LAST | 4));
        let table = [
            (Field::GuestLdtrSelector, 8),
            (Field::GuestLdtrBase, TABLE),
            (Field::GuestLdtrLimit, LAST + 7),
            (Field::GuestLdtrArBytes, 0x82),
        ];
        let loaded = [(Field::GuestEsSelector, LAST | 4)];
        enter(&mut l1, "LDT", program, &table, &loaded);
        // There is none behind the end.
        let program = l1.l2(|asm| loads(asm, BEHIND));
        enter(&mut l1, "behind the LDT", program, &table, &[]);
        l1.word("vector", layout::L2_FRAME, GENERAL_PROTECTION);
        l1.word("error code", layout::L2_FRAME + 8, BEHIND);
        l1
    });
}

#[test]
fn exceptions_have_their_stack() {
    const IST1: u64 = layout::TSS + 0x24;
    const GATE: u64 = layout::L2_IDT + 16 * INVALID_OPCODE;
    check(|| {
        let mut l1 = L1::in_vmx();
        put_identity(&mut l1);
        l1.store(IST1, STACK);
        emit!(l1.asm, mov(rax, 1_u64 << 32); or(qword_ptr(GATE), rax););
        let program = l1.l2(|asm| emit!(asm, ud2();));
        enter(&mut l1, "IST1", program, &[], &[(Field::GuestRsp, STACK)]);
        l1.word("vector", layout::L2_FRAME, INVALID_OPCODE);
        l1.word("RIP", layout::L2_FRAME + 16, program);
        l1.word("RSP", layout::L2_FRAME + 40, layout::L2_STACK);
        // The same for what L1 injects, and for what the processor finds.
        let program = l1.l2(|asm| emit!(asm, vmcall();));
        let injected = [
            (Field::VmEntryIntrInfoField, 0x8000_0300 | INVALID_OPCODE),
            (Field::GuestTrBase, layout::TSS),
        ];
        enter(
            &mut l1,
            "injected",
            program,
            &injected,
            &[(Field::GuestRsp, STACK)],
        );
        l1.word("RIP", layout::L2_FRAME + 16, program);
        l1
    });
}

/// KVM's emulator, which makes accesses to devices, knows the usual instructions only.
#[test]
fn what_kvm_cannot_emulate_is_an_invalid_opcode_in_l2() {
    check(|| {
        let mut l1 = L1::in_vmx();
        put_identity(&mut l1);
        l1.store(layout::EPT_SECOND_PT, layout::NOTHING | PAGE);
        let program = l1.l2(|asm| {
            emit!(asm, mov(edi, 1 << 30); paddq(xmm0, xmmword_ptr(rdi)); vmcall(););
        });
        enter(&mut l1, "PADDQ", program, &[], &[]);
        l1.word("vector", layout::L2_FRAME, INVALID_OPCODE);
        l1.word("RIP", layout::L2_FRAME + 16, program + 5);
        // L2 goes on, and so does L1.
        let program = l1.l2(|asm| emit!(asm, nop(); vmcall();));
        enter(
            &mut l1,
            "NOP",
            program,
            &[],
            &[(Field::GuestRip, program + 1)],
        );
        l1
    });
}
