// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! VMX instructions where they do not belong, and control registers that VMX holds fast.

use iced_x86::code_asm::*;
use nested_vmx::instruction_error::InstructionError;

use crate::child::check;
use crate::l1::{L1, Verdict, emit};
use crate::layout;

const INVALID_OPCODE: Verdict = Verdict::Faults(6, 0);
const GENERAL_PROTECTION: Verdict = Verdict::Faults(13, 0);

/// All VMX instructions but VMXON.
fn attempt_all(l1: &mut L1, verdict: Verdict) {
    let operand = || qword_ptr(layout::OPERAND);
    l1.operand(layout::VMCS);
    l1.attempt("vmclear", verdict, |asm| emit!(asm, vmclear(operand());));
    l1.attempt("vmptrld", verdict, |asm| emit!(asm, vmptrld(operand());));
    l1.attempt("vmptrst", verdict, |asm| emit!(asm, vmptrst(operand());));
    l1.attempt("vmread", verdict, |asm| emit!(asm, vmread(rax, rdx);));
    l1.attempt("vmwrite", verdict, |asm| emit!(asm, vmwrite(rdx, rax);));
    l1.attempt("vmlaunch", verdict, |asm| emit!(asm, vmlaunch();));
    l1.attempt("vmresume", verdict, |asm| emit!(asm, vmresume();));
    l1.attempt("vmcall", verdict, |asm| emit!(asm, vmcall();));
    l1.attempt("vmxoff", verdict, |asm| emit!(asm, vmxoff();));
    l1.attempt("invept", verdict, |asm| {
        emit!(asm, invept(rax, xmmword_ptr(layout::OPERAND)););
    });
    l1.attempt("invvpid", verdict, |asm| {
        emit!(asm, invvpid(rax, xmmword_ptr(layout::OPERAND)););
    });
}

fn vmxon(asm: &mut CodeAssembler) {
    emit!(asm, vmxon(qword_ptr(layout::OPERAND)););
}

#[test]
fn outside_vmx_operation_there_is_no_vmx_instruction_but_vmxon() {
    check(|| {
        let mut l1 = L1::new();
        attempt_all(&mut l1, INVALID_OPCODE);
        l1.operand(layout::VMXON_REGION);
        l1.attempt("vmxon, VMXE 0", INVALID_OPCODE, vmxon);
        l1.enable_vmx();
        attempt_all(&mut l1, INVALID_OPCODE);
        l1.operand(layout::VMXON_REGION);
        // NE is fixed to 1.
        emit!(l1.asm,
            mov(rax, cr0);
            and(eax, !0x20);
            mov(cr0, rax);
        );
        l1.attempt("vmxon, NE 0", GENERAL_PROTECTION, vmxon);
        emit!(l1.asm,
            mov(rax, cr0);
            or(eax, 0x20);
            mov(cr0, rax);
        );
        l1.attempt("vmxon", Verdict::Succeeds, vmxon);
        l1.attempt("vmxoff", Verdict::Succeeds, |asm| emit!(asm, vmxoff();));
        attempt_all(&mut l1, INVALID_OPCODE);
        // As it was before.
        l1.operand(layout::VMXON_REGION);
        emit!(l1.asm,
            mov(rax, cr4);
            and(eax, !0x2000);
            mov(cr4, rax);
        );
        l1.attempt("vmxon, VMXE 0", INVALID_OPCODE, vmxon);
        l1.enable_vmx();
        l1.attempt("vmxon", Verdict::Succeeds, vmxon);
        l1
    });
}

#[test]
fn the_second_vmxon_fails() {
    check(|| {
        let mut l1 = L1::in_vmx();
        l1.attempt("again", Verdict::FailsInvalid, vmxon);
        l1.operand(layout::VMCS);
        l1.attempt("vmclear", Verdict::Succeeds, |asm| {
            emit!(asm, vmclear(qword_ptr(layout::OPERAND)););
        });
        l1.attempt("vmptrld", Verdict::Succeeds, |asm| {
            emit!(asm, vmptrld(qword_ptr(layout::OPERAND)););
        });
        let verdict = Verdict::FailsValid(InstructionError::VmxonInVmxRoot);
        l1.attempt("again", verdict, vmxon);
        l1
    });
}

#[test]
fn vmx_operation_holds_bits_of_control_registers_fast() {
    check(|| {
        let mut l1 = L1::in_vmx();
        // NE; PE; PG; PE and PG.
        for bits in [0x20_u32, 1, 0x8000_0000, 0x8000_0001] {
            l1.attempt(
                &format!("CR0 without {bits:x}"),
                GENERAL_PROTECTION,
                |asm| {
                    emit!(asm,
                        mov(rcx, cr0);
                        and(ecx, !bits);
                        mov(cr0, rcx);
                    );
                },
            );
        }
        l1.attempt("CR4 without VMXE", GENERAL_PROTECTION, |asm| {
            emit!(asm,
                mov(rcx, cr4);
                and(ecx, !0x2000);
                mov(cr4, rcx);
            );
        });
        l1.value("CR4 has VMXE", 1, |asm| {
            emit!(asm,
                mov(rax, cr4);
                shr(eax, 13);
                and(eax, 1);
            );
        });
        // What is not held fast: TS.
        l1.attempt("CR0 with TS", Verdict::Succeeds, |asm| {
            emit!(asm,
                mov(rcx, cr0);
                or(ecx, 8);
                mov(cr0, rcx);
                clts();
                test(esp, esp);
            );
        });
        l1
    });
}
