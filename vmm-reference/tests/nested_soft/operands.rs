// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! VMXON, VMCLEAR and VMPTRLD of what is no region.

use iced_x86::code_asm::*;
use nested_vmx::instruction_error::InstructionError;

use crate::child::check;
use crate::l1::{L1, Verdict, emit};
use crate::layout;

/// Pointers that the SDM forbids: unaligned, wider than physical addresses (0: than L1's are).
const FORBIDDEN: [(&str, u64); 4] = [
    ("unaligned", layout::OTHER_VMCS + 8),
    ("odd", layout::OTHER_VMCS + 1),
    ("too wide", 1 << 63),
    ("one bit too wide", 0),
];

/// Pointers to where no memory is: what is read there is all ones, which is no revision.
const ELSEWHERE: [(&str, u64); 3] = [
    ("a device", layout::DEVICE),
    ("nothing", layout::NOTHING),
    ("behind memory", layout::MEMORY),
];

#[test]
fn vmxon_of_what_is_no_region_fails_without_a_vmcs() {
    check(|| {
        let mut l1 = L1::new();
        l1.enable_vmx();
        for (name, pointer) in FORBIDDEN.into_iter().chain(ELSEWHERE) {
            operand(&mut l1, pointer);
            l1.attempt(&format!("vmxon {name}"), Verdict::FailsInvalid, vmxon);
        }
        // A region without a revision.
        l1.operand(layout::EPT);
        l1.attempt("vmxon revision", Verdict::FailsInvalid, vmxon);
        l1.operand(layout::VMXON_REGION);
        l1.attempt("vmxon", Verdict::Succeeds, vmxon);
        l1
    });
}

#[test]
fn vmptrld_and_vmclear_of_what_is_no_region_fail_with_their_numbers() {
    use InstructionError as E;
    check(|| {
        let mut l1 = L1::in_vmx();
        // Without a current VMCS, there is no place for a number.
        l1.operand(layout::VMXON_REGION);
        l1.attempt("vmptrld itself, no VMCS", Verdict::FailsInvalid, vmptrld);
        l1.attempt("vmclear itself, no VMCS", Verdict::FailsInvalid, vmclear);
        l1.operand(layout::VMCS);
        l1.attempt("vmclear", Verdict::Succeeds, vmclear);
        l1.attempt("vmptrld", Verdict::Succeeds, vmptrld);
        for (name, pointer) in FORBIDDEN {
            operand(&mut l1, pointer);
            let verdict = Verdict::FailsValid(E::VmptrldInvalidAddress);
            l1.attempt(&format!("vmptrld {name}"), verdict, vmptrld);
            let verdict = Verdict::FailsValid(E::VmclearInvalidAddress);
            l1.attempt(&format!("vmclear {name}"), verdict, vmclear);
        }
        l1.operand(layout::VMXON_REGION);
        let verdict = Verdict::FailsValid(E::VmptrldVmxonPointer);
        l1.attempt("vmptrld itself", verdict, vmptrld);
        let verdict = Verdict::FailsValid(E::VmclearVmxonPointer);
        l1.attempt("vmclear itself", verdict, vmclear);
        for (name, pointer) in ELSEWHERE {
            l1.operand(pointer);
            let verdict = Verdict::FailsValid(E::VmptrldRevision);
            l1.attempt(&format!("vmptrld {name}"), verdict, vmptrld);
            // What is written there is lost.
            l1.attempt(&format!("vmclear {name}"), Verdict::Succeeds, vmclear);
        }
        l1.operand(layout::EPT);
        let verdict = Verdict::FailsValid(E::VmptrldRevision);
        l1.attempt("vmptrld revision", verdict, vmptrld);
        // The current VMCS is still the one before.
        l1.attempt("vmptrst", Verdict::Succeeds, |asm| {
            emit!(asm, vmptrst(qword_ptr(layout::L2_DATA)););
        });
        l1.word("current", layout::L2_DATA, layout::VMCS);
        l1
    });
}

fn operand(l1: &mut L1, pointer: u64) {
    match pointer {
        0 => emit!(l1.asm,
            mov(eax, 0x8000_0008_u32);
            cpuid();
            mov(ecx, eax);
            mov(eax, 1);
            shl(rax, cl);
            mov(qword_ptr(layout::OPERAND), rax);
        ),
        _ => l1.operand(pointer),
    }
}

fn vmxon(asm: &mut CodeAssembler) {
    emit!(asm, vmxon(qword_ptr(layout::OPERAND)););
}

fn vmptrld(asm: &mut CodeAssembler) {
    emit!(asm, vmptrld(qword_ptr(layout::OPERAND)););
}

fn vmclear(asm: &mut CodeAssembler) {
    emit!(asm, vmclear(qword_ptr(layout::OPERAND)););
}
