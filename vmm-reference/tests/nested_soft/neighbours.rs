// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Functions that follow each other without a gap, as compilers put them without optimization: one
//! begins right behind a stop.

use iced_x86::code_asm::*;
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::vmcs::Field;

use crate::child::check;
use crate::l1::{Controls, L1, emit};
use crate::layout;

/// The second of two functions, which counts its calls in RBX. The first one was called.
fn second_function(l1: &mut L1) -> CodeLabel {
    let mut first = l1.asm.create_label();
    let mut second = l1.asm.create_label();
    l1.out_of_line(|asm| {
        emit!(asm,
            set_label(&mut first);
            lea(rbx, ptr(rbx + 0x10));
            ret();
            set_label(&mut second);
            lea(rbx, ptr(rbx + 1));
            ret();
        );
    });
    emit!(l1.asm, xor(ebx, ebx); call(first););
    second
}

#[test]
fn l1_calls_what_is_behind_a_stop() {
    check(|| {
        let mut l1 = L1::in_vmx();
        let second = second_function(&mut l1);
        emit!(l1.asm,
            // Through a register, through memory, and by a branch that says where it leads.
            lea(rax, ptr(second));
            call(rax);
            mov(qword_ptr(layout::L2_DATA), rax);
            call(qword_ptr(layout::L2_DATA));
            call(second);
        );
        l1.value("calls", 0x13, |asm| emit!(asm, mov(rax, rbx);));
        l1
    });
}

#[test]
fn l2_calls_what_is_behind_a_stop_of_l1s() {
    const RDX: u64 = layout::L2_GPR + 2 * 8;
    const RBX: u64 = layout::L2_GPR + 3 * 8;
    check(|| {
        let mut l1 = L1::in_vmx();
        let second = second_function(&mut l1);
        emit!(l1.asm, call(second););
        l1.store(RBX, 0);
        emit!(l1.asm, lea(rax, ptr(second)); mov(qword_ptr(RDX), rax););
        let program = l1.l2(|asm| emit!(asm, call(rdx); call(rdx); vmcall();));
        l1.new_vmcs(Controls::LONG, &[(Field::GuestRip, program)]);
        let seen = [(Field::GuestRip, program + 4)];
        l1.enter("vmcall", ExitReason::VMCALL, &seen);
        l1.word("calls", RBX, 2);
        l1
    });
}
