// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! An L1 that copies code of its own, and stops with it.

use iced_x86::code_asm::*;
use nested_vmx::controls::PrimaryControls;
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::vmcs::Field;

use crate::child::check;
use crate::l1::{Controls, L1, emit};
use crate::layout;

/// Where the copy is.
const COPY: u64 = 4 << 20;
const NEAR: i32 = 32;

/// A function that counts its calls in RBX and has stops, called once; then its copy.
fn copied_function(l1: &mut L1) -> CodeLabel {
    let mut function = l1.asm.create_label();
    l1.out_of_line(|asm| {
        emit!(asm,
            set_label(&mut function);
            lea(rbx, ptr(rbx + 1));
            mov(rax, cr4);
            ret();
            push(rbp);
            mov(rbp, rsp);
        );
    });
    emit!(l1.asm,
        xor(ebx, ebx);
        call(function);
        lea(rsi, ptr(function));
    );
    for offset in (0..2 * NEAR).step_by(8) {
        emit!(l1.asm,
            mov(rax, qword_ptr(rsi + offset - NEAR));
            mov(qword_ptr(COPY + offset as u64), rax);
        );
    }
    function
}

#[test]
fn a_copy_of_code_that_was_executed_runs() {
    check(|| {
        let mut l1 = L1::in_vmx();
        let function = copied_function(&mut l1);
        emit!(l1.asm,
            mov(eax, COPY as u32 + NEAR as u32);
            call(rax);
            call(function);
            mov(eax, COPY as u32 + NEAR as u32);
            call(rax);
        );
        l1.value("calls", 4, |asm| emit!(asm, mov(rax, rbx);));
        l1
    });
}

/// L1's function becomes L2's.
#[test]
fn so_does_one_in_l2() {
    const RBX: u64 = layout::L2_GPR + 3 * 8;
    check(|| {
        let mut l1 = L1::in_vmx();
        copied_function(&mut l1);
        let copy = COPY + NEAR as u64;
        let program = l1.l2(|asm| emit!(asm, mov(eax, copy as u32); call(rax); vmcall();));
        l1.store(RBX, 0);
        l1.new_vmcs(
            Controls::primary(PrimaryControls::HLT_EXITING),
            &[(Field::GuestRip, program)],
        );
        let seen = [(Field::GuestRip, program + 7)];
        l1.enter("vmcall", ExitReason::VMCALL, &seen);
        l1.word("calls", RBX, 1);
        l1
    });
}
