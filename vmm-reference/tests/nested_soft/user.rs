// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! User code of L1's: what it must not do, and code that it or L2's shares with L1's kernel.

use iced_x86::code_asm::*;
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::vmcs::Field;

use crate::child::{check, run_with};
use crate::l1::{Controls, L1, Verdict, emit};
use crate::layout;
use crate::machine::{Guest, has_kvm};
use crate::tables::{CODE_64, words};

/// L1's segments once more, and behind them those of user code.
const GDT: u64 = layout::GDT + 0x100;
const GDTR: u64 = layout::L1_IDTR + 0x10;
const USER_DATA: u32 = 0x2b;
const USER_CODE: u32 = 0x33;
/// The stack for events in user code.
const STACK: u64 = layout::L1_STACK - 0x2000;
/// Where SYSCALL leads to, in a large page of its own.
const SYSTEM_CALL: u64 = 4 << 20;
const RFLAGS: u32 = 0x202;
const INVALID_OPCODE: Verdict = Verdict::Faults(6, 0);
const GENERAL_PROTECTION: Verdict = Verdict::Faults(13, 0);

/// Gives an L1 user code.
fn allow_user_code(l1: &mut L1) {
    l1.put(layout::TSS + 4, words(&[STACK]));
    let limit = 0x37_u16.to_le_bytes();
    l1.put(GDTR, [&limit[..], &GDT.to_le_bytes()].concat());
    for index in 0..5 {
        emit!(l1.asm,
            mov(rax, qword_ptr(layout::GDT + 8 * index));
            mov(qword_ptr(GDT + 8 * index), rax);
        );
    }
    l1.store(GDT + u64::from(USER_DATA & !7), 0x00cf_f300_0000_ffff);
    l1.store(GDT + u64::from(USER_CODE & !7), 0x00af_fb00_0000_ffff);
    emit!(l1.asm, lgdt(ptr(GDTR)););
    for table in [layout::PML4, layout::PDPT, layout::PD] {
        emit!(l1.asm, or(qword_ptr(table), 4););
    }
    emit!(l1.asm, mov(rax, cr3); mov(cr3, rax););
}

/// User code, which comes back by an exception.
fn attempt(l1: &mut L1, name: &str, verdict: Verdict, code: impl FnOnce(&mut CodeAssembler)) {
    l1.attempt(name, verdict, |asm| {
        let mut user = asm.create_label();
        emit!(asm,
            mov(rcx, rsp);
            push(USER_DATA as i32);
            push(rcx);
            push(RFLAGS as i32 & !0x200);
            push(USER_CODE as i32);
            lea(rax, ptr(user));
            push(rax);
            iretq();
            set_label(&mut user);
        );
        code(asm);
    });
}

fn attempt_vmx(l1: &mut L1, when: &str, vmxon: Verdict, others: Verdict) {
    let operand = || qword_ptr(layout::OPERAND);
    attempt(l1, &format!("{when} vmxon"), vmxon, |asm| {
        emit!(asm, vmxon(operand()););
    });
    attempt(l1, &format!("{when} vmclear"), others, |asm| {
        emit!(asm, vmclear(operand()););
    });
    attempt(l1, &format!("{when} vmread"), others, |asm| {
        emit!(asm, vmread(rbx, rcx););
    });
    attempt(l1, &format!("{when} vmlaunch"), others, |asm| {
        emit!(asm, vmlaunch(););
    });
    attempt(l1, &format!("{when} vmxoff"), others, |asm| {
        emit!(asm, vmxoff(););
    });
    attempt(l1, &format!("{when} invept"), others, |asm| {
        emit!(asm, invept(rbx, xmmword_ptr(layout::OPERAND)););
    });
    attempt(l1, &format!("{when} vmcall"), others, |asm| {
        emit!(asm, vmcall(););
    });
}

#[test]
fn vmx_instructions_are_the_kernels() {
    check(|| {
        let mut l1 = L1::new();
        allow_user_code(&mut l1);
        attempt_vmx(&mut l1, "without VMXE", INVALID_OPCODE, INVALID_OPCODE);
        l1.enable_vmx();
        attempt_vmx(&mut l1, "with VMXE", GENERAL_PROTECTION, INVALID_OPCODE);
        l1.operand(layout::VMXON_REGION);
        l1.attempt("vmxon", Verdict::Succeeds, |asm| {
            emit!(asm, vmxon(qword_ptr(layout::OPERAND)););
        });
        attempt_vmx(&mut l1, "root", GENERAL_PROTECTION, GENERAL_PROTECTION);
        // Another invalid opcode is none of VMX's.
        attempt(&mut l1, "ud2", INVALID_OPCODE, |asm| emit!(asm, ud2();));
        // L1 is in VMX operation still.
        l1.attempt("vmclear", Verdict::Succeeds, |asm| {
            emit!(asm, mov(qword_ptr(layout::OPERAND), layout::VMCS as i32); vmclear(qword_ptr(layout::OPERAND)););
        });
        l1
    });
}

/// Code that counts its calls in RBX, and returns.
fn shared_function(l1: &mut L1) -> CodeLabel {
    let mut shared = l1.asm.create_label();
    l1.out_of_line(|asm| {
        emit!(asm, set_label(&mut shared); lea(rbx, ptr(rbx + 1)); ret(););
    });
    shared
}

/// L1's kernel stops at such instructions; its user code must not.
#[test]
fn code_is_shared_with_the_kernel() {
    check(|| {
        let mut l1 = L1::in_vmx();
        allow_user_code(&mut l1);
        let shared = shared_function(&mut l1);
        emit!(l1.asm, xor(ebx, ebx););
        for round in ["first", "second"] {
            emit!(l1.asm, call(shared););
            attempt(&mut l1, round, INVALID_OPCODE, |asm| {
                emit!(asm,
                    call(shared);
                    call(shared);
                    ud2();
                );
            });
            emit!(l1.asm, call(shared););
        }
        l1.value("calls", 8, |asm| emit!(asm, mov(rax, rbx);));
        // What is forbidden there is still.
        attempt(&mut l1, "hlt", GENERAL_PROTECTION, |asm| emit!(asm, hlt();));
        l1
    });
}

/// The same, and the user code is L2's.
#[test]
fn code_is_shared_with_l2() {
    use Field::*;
    const RDX: u64 = layout::L2_GPR + 2 * 8;
    const RBX: u64 = layout::L2_GPR + 3 * 8;
    check(|| {
        let mut l1 = L1::in_vmx();
        allow_user_code(&mut l1);
        let shared = shared_function(&mut l1);
        let user = l1.l2(|asm| emit!(asm, call(rdx); call(rdx); cli();));
        let fields = [
            (GuestCsSelector, USER_CODE.into()),
            (GuestCsArBytes, 0xa0fb),
            (GuestSsSelector, USER_DATA.into()),
            (GuestSsArBytes, 0xc0f3),
            (ExceptionBitmap, 1 << 13),
            (GuestRip, user),
        ];
        l1.store(RBX, 0);
        emit!(l1.asm, lea(rax, ptr(shared)); mov(qword_ptr(RDX), rax););
        for calls in [2, 4] {
            emit!(l1.asm, call(shared););
            l1.new_vmcs(Controls::LONG, &fields);
            let seen = [(VmExitIntrInfo, 0x8000_0b0d), (GuestRip, user + 4)];
            l1.enter("cli", ExitReason::EXCEPTION_OR_NMI, &seen);
            l1.word("calls", RBX, calls);
        }
        l1
    });
}

/// From L2's kernel to its user code and on, one instruction after the other.
#[test]
fn user_code_of_l2_exits_where_it_ought_to() {
    use Field::*;
    const RBX: u64 = layout::L2_GPR + 3 * 8;
    check(|| {
        let mut l1 = L1::in_vmx();
        allow_user_code(&mut l1);
        let user = l1.l2(|asm| {
            emit!(asm,
                pushfq();
                pop(rbx);
                push(rbx);
                popfq();
                cpuid();
                nop();
                vmcall();
            );
        });
        let cpuid = user + 4;
        let kernel = l1.l2(|asm| {
            emit!(asm,
                mov(rcx, rsp);
                push(USER_DATA as i32);
                push(rcx);
                push(RFLAGS as i32);
                push(USER_CODE as i32);
                mov(rax, user);
                push(rax);
                iretq();
            );
        });
        let fields = [
            (GuestGdtrBase, GDT),
            (GuestGdtrLimit, 0x37),
            (GuestRip, kernel),
        ];
        l1.new_vmcs(Controls::LONG, &fields);
        let level = (GuestCsSelector, u64::from(USER_CODE));
        let flags = (GuestRflags, u64::from(RFLAGS));
        let seen = [level, flags, (GuestRip, cpuid)];
        l1.enter("cpuid", ExitReason::CPUID, &seen);
        l1.word("RFLAGS", RBX, RFLAGS.into());
        l1.write(&[(GuestRip, cpuid + 2)]);
        let seen = [level, flags, (GuestRip, cpuid + 3)];
        l1.enter("vmcall", ExitReason::VMCALL, &seen);
        l1
    });
}

/// Has SYSCALL lead to a copy of `kernel`, without the trap flag. User code has no access there: an
/// emulating KVM was seen to execute it as user code else.
fn allow_system_calls(l1: &mut L1, kernel: u64) {
    for offset in (0..64).step_by(8) {
        emit!(l1.asm,
            mov(rax, qword_ptr(kernel + offset));
            mov(qword_ptr(SYSTEM_CALL + offset), rax);
        );
    }
    emit!(l1.asm,
        mov(ecx, 0xc000_0080_u32);
        rdmsr();
        or(eax, 1);
        wrmsr();
        mov(ecx, 0xc000_0081_u32);
        xor(eax, eax);
        mov(edx, 0x20_0008);
        wrmsr();
        mov(ecx, 0xc000_0082_u32);
        mov(eax, SYSTEM_CALL as u32);
        xor(edx, edx);
        wrmsr();
        mov(ecx, 0xc000_0084_u32);
        mov(eax, 0x4_7700);
        wrmsr();
    );
}

/// Whether this host's KVM has them, without VMX.
fn has_system_calls(test: &str) -> bool {
    if !has_kvm("nested_soft") {
        return false;
    }
    let mut l1 = L1::new();
    allow_user_code(&mut l1);
    let kernel = l1.l2(|asm| {
        emit!(asm,
            mov(al, 0x50);
            mov(edx, 0x3f8);
            out(dx, al);
            xor(eax, eax);
            out(0xf4, al);
        );
    });
    allow_system_calls(&mut l1, kernel);
    attempt(&mut l1, "", INVALID_OPCODE, |asm| emit!(asm, syscall();));
    let made = l1.finish();
    let has = run_with(&Guest::new().code(&made.image).elf(), &[]).output == "P";
    if !has {
        println!(
            "SKIPPED: {test}: SYSCALL does not get to the kernel of this host's guests; \
             `cargo xtask lab svm` is a machine where it does"
        );
    }
    has
}

/// They take the trap flag along.
#[test]
fn system_calls_of_l2_come_and_go() {
    use Field::*;
    const RBX: u64 = layout::L2_GPR + 3 * 8;
    if !has_system_calls("system_calls_of_l2_come_and_go") {
        return;
    }
    check(|| {
        let mut l1 = L1::in_vmx();
        allow_user_code(&mut l1);
        let user = l1.l2(|asm| emit!(asm, lea(rbx, ptr(rbx + 1)); syscall(); cpuid();));
        let kernel = l1.l2(|asm| emit!(asm, lea(rbx, ptr(rbx + 2)); sysretq();));
        let start = l1.l2(|asm| {
            emit!(asm, mov(ecx, user as u32); mov(r11d, RFLAGS); sysretq(););
        });
        allow_system_calls(&mut l1, kernel);
        let fields = [
            (GuestGdtrBase, GDT),
            (GuestGdtrLimit, 0x37),
            (GuestRip, start),
        ];
        l1.store(RBX, 0);
        l1.new_vmcs(Controls::LONG, &fields);
        let seen = [
            (GuestCsSelector, u64::from(USER_CODE)),
            (GuestRflags, RFLAGS.into()),
            (GuestRip, user + 6),
        ];
        l1.enter("cpuid", ExitReason::CPUID, &seen);
        l1.word("calls", RBX, 3);
        l1.word("R11", layout::L2_GPR + 11 * 8, RFLAGS.into());
        l1
    });
}

#[test]
fn system_calls_come_and_go() {
    if !has_system_calls("system_calls_come_and_go") {
        return;
    }
    check(|| {
        let mut l1 = L1::in_vmx();
        allow_user_code(&mut l1);
        // Code of L1's as well.
        let kernel = l1.l2(|asm| {
            emit!(asm, lea(rbx, ptr(rbx + 2)); mov(rax, cr4); sysretq(););
        });
        allow_system_calls(&mut l1, kernel);
        emit!(l1.asm, xor(ebx, ebx););
        attempt(&mut l1, "syscall", INVALID_OPCODE, |asm| {
            emit!(asm, lea(rbx, ptr(rbx + 1)); syscall(); lea(rbx, ptr(rbx + 4)); syscall(); ud2(););
        });
        l1.value("calls", 9, |asm| emit!(asm, mov(rax, rbx);));
        l1.value("R11", 2, |asm| emit!(asm, mov(rax, r11);));
        l1
    });
}

/// L2's kernel debugs its user code: L0, which may step it by the same flag, is not seen.
#[test]
fn user_code_of_l2_is_stepped_by_l2() {
    use Field::*;
    const TF: u64 = 1 << 8;
    check(|| {
        let mut l1 = L1::in_vmx();
        allow_user_code(&mut l1);
        let user = l1.l2(|asm| emit!(asm, lea(rbx, ptr(rbx + 1)); nop(); cpuid();));
        let fields = |bitmap| {
            [
                (GuestCsSelector, USER_CODE.into()),
                (GuestCsArBytes, 0xa0fb),
                (GuestSsSelector, USER_DATA.into()),
                (GuestSsArBytes, 0xc0f3),
                (GuestGdtrBase, GDT),
                (GuestGdtrLimit, 0x37),
                (ExceptionBitmap, bitmap),
                (GuestRflags, u64::from(RFLAGS) | TF),
                (GuestRip, user),
            ]
        };
        l1.new_vmcs(Controls::LONG, &fields(1 << 1));
        let seen = [
            (VmExitIntrInfo, 0x8000_0301),
            (ExitQualification, 1 << 14),
            (GuestRip, user + 4),
            (GuestRflags, u64::from(RFLAGS) | TF),
        ];
        l1.enter("trap", ExitReason::EXCEPTION_OR_NMI, &seen);
        // Without L1, it is L2's kernel that has it.
        l1.new_vmcs(Controls::LONG, &fields(0));
        let kernel = (GuestCsSelector, CODE_64.into());
        l1.enter("handler", ExitReason::VMCALL, &[kernel]);
        l1.word("vector", layout::L2_FRAME, 1);
        l1.word("RIP", layout::L2_FRAME + 16, user + 4);
        l1.word("RFLAGS", layout::L2_FRAME + 32, u64::from(RFLAGS) | TF);
        l1
    });
}
