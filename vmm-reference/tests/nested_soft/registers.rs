// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! L2's control registers, some of whose bits L1 has: what L2 writes is its own part, and what cannot
//! be written faults with L2's registers as L2 has them. And registers that L1 and L2 share.

use iced_x86::code_asm::*;
use nested_vmx::controls::PrimaryControls;
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::vmcs::Field;

use crate::child::check;
use crate::ept::{EPTP, put_identity};
use crate::l1::{Controls, L1, emit};
use crate::layout;
use crate::vmcs12::{CR0, CR4};

const NE: u64 = 1 << 5;
const NW: u64 = 1 << 29;
const PSE: u64 = 1 << 4;
const PAE: u64 = 1 << 5;
const OSFXSR: u64 = 1 << 9;
const VMXE: u64 = 1 << 13;
const SMEP: u64 = 1 << 20;
const GENERAL_PROTECTION: u64 = 13;
/// An exit for #GP, which has an error code.
const FAULT: u64 = 0x8000_0b00 | GENERAL_PROTECTION;
/// The number of RBX.
const RBX: u64 = 3;

/// A part of a program.
type Code = fn(&mut CodeAssembler);

/// L1 has NE, and VMXE and PSE. L2 takes NE and VMXE for 0, and PSE for 1.
fn masks() -> [(Field, u64); 4] {
    [
        (Field::Cr0GuestHostMask, NE),
        (Field::Cr0ReadShadow, 0),
        (Field::Cr4GuestHostMask, VMXE | PSE),
        (Field::Cr4ReadShadow, PSE),
    ]
}

fn new_vmcs(l1: &mut L1, exceptions: u64, program: u64) {
    let mut fields = masks().to_vec();
    fields.extend([
        (Field::ExceptionBitmap, exceptions),
        (Field::GuestRip, program),
    ]);
    l1.new_vmcs(Controls::LONG, &fields);
}

/// Write-through caches without the caches being off: no processor allows that.
const WRONG_CR0: u64 = CR0 & !NE | NW;
/// IA-32e mode without PAE. As a stack pointer it leads to code that is executed no more.
const WRONG_CR4: u64 = SMEP | OSFXSR | PSE;

#[test]
fn what_faults_exits_with_l2s_registers_and_leaves_l1_its_own() {
    check(|| {
        let mut l1 = L1::in_vmx();
        let programs: [(&str, u64, Code); 3] = [
            ("CR0 of RBX", WRONG_CR0, |asm| {
                emit!(asm, mov(ebx, WRONG_CR0 as u32); mov(cr0, rbx););
            }),
            ("CR4 of RBX", WRONG_CR4, |asm| {
                emit!(asm, mov(ebx, WRONG_CR4 as u32); mov(cr4, rbx););
            }),
            ("CR4 of RSP", WRONG_CR4, |asm| {
                emit!(asm, mov(esp, WRONG_CR4 as u32); mov(cr4, rsp););
            }),
        ];
        for (name, written, code) in programs {
            let program = l1.l2(code);
            new_vmcs(&mut l1, 1 << GENERAL_PROTECTION, program);
            let of_rsp = name.ends_with("RSP");
            let pointer = if of_rsp { written } else { layout::L2_STACK };
            l1.enter(
                name,
                ExitReason::EXCEPTION_OR_NMI,
                &[
                    (Field::VmExitIntrInfo, FAULT),
                    (Field::VmExitIntrErrorCode, 0),
                    (Field::GuestRip, program + 5),
                    (Field::GuestRsp, pointer),
                    (Field::GuestCr0, CR0),
                    (Field::GuestCr4, CR4),
                ],
            );
            if !of_rsp {
                l1.word("RBX", layout::L2_GPR + 8 * RBX, written);
            }
        }
        l1
    });
}

#[test]
fn what_faults_reaches_l2s_handler_with_l2s_registers() {
    check(|| {
        let mut l1 = L1::in_vmx();
        let program = l1.l2(|asm| emit!(asm, mov(esp, WRONG_CR4 as u32); mov(cr4, rsp);));
        new_vmcs(&mut l1, 0, program);
        l1.enter(
            "CR4 of RSP",
            ExitReason::VMCALL,
            &[(Field::GuestRsp, WRONG_CR4), (Field::GuestCr4, CR4)],
        );
        let frame = [
            ("vector", 0, GENERAL_PROTECTION),
            ("RIP", 2, program + 5),
            ("RSP", 5, WRONG_CR4),
        ];
        for (name, at, expected) in frame {
            l1.word(name, layout::L2_FRAME + 8 * at, expected);
        }
        l1
    });
}

#[test]
fn what_can_be_written_is_l2s_part() {
    const WRITTEN: u64 = OSFXSR | PAE | PSE;
    check(|| {
        let mut l1 = L1::in_vmx();
        let program = l1.l2(|asm| {
            emit!(asm,
                mov(esp, WRITTEN as u32);
                mov(cr4, rsp);
                mov(qword_ptr(layout::L2_DATA), rsp);
                mov(rax, cr4);
                mov(qword_ptr(layout::L2_DATA + 8), rax);
                vmcall();
            );
        });
        new_vmcs(&mut l1, u64::from(u32::MAX), program);
        l1.enter(
            "CR4 of RSP",
            ExitReason::VMCALL,
            &[
                (Field::GuestRsp, WRITTEN),
                (Field::GuestCr4, OSFXSR | PAE | VMXE),
            ],
        );
        l1.word("RSP", layout::L2_DATA, WRITTEN);
        l1.word("CR4", layout::L2_DATA + 8, WRITTEN);
        l1
    });
}

/// SDM volume 3, section 25.8.
#[test]
fn what_vmx_needs_stays_set() {
    check(|| {
        let mut l1 = L1::in_vmx();
        let programs: [(&str, Code); 2] = [
            ("CR0 without NE", |asm| {
                emit!(asm, mov(ebx, (CR0 & !NE) as u32); mov(cr0, rbx););
            }),
            ("CR4 without VMXE", |asm| {
                emit!(asm, mov(ebx, PAE as u32); mov(cr4, rbx););
            }),
        ];
        for (name, code) in programs {
            let program = l1.l2(code);
            let exceptions = (Field::ExceptionBitmap, 1 << GENERAL_PROTECTION);
            l1.new_vmcs(Controls::LONG, &[exceptions, (Field::GuestRip, program)]);
            l1.enter(
                name,
                ExitReason::EXCEPTION_OR_NMI,
                &[
                    (Field::VmExitIntrInfo, FAULT),
                    (Field::GuestRip, program + 5),
                    (Field::GuestCr0, CR0),
                    (Field::GuestCr4, CR4),
                ],
            );
        }
        l1
    });
}

/// With EPT, without; MSRs do not exit, and L2's TSC has an offset.
fn sharing() -> [Controls; 2] {
    let wanted = PrimaryControls::USE_MSR_BITMAPS | PrimaryControls::USE_TSC_OFFSETTING;
    [Controls::LONG, Controls::ept()].map(|controls| Controls {
        primary: controls.primary | wanted.bits(),
        ..controls
    })
}

fn enter_sharing(l1: &mut L1, controls: Controls, program: u64, more: &[(Field, u64)]) {
    let mut fields = vec![
        (Field::MsrBitmap, layout::MSR_BITMAP),
        (Field::EptPointer, EPTP),
        (Field::GuestRip, program),
    ];
    fields.extend(more);
    l1.new_vmcs(controls, &fields);
    l1.enter("L2", ExitReason::VMCALL, &[]);
}

#[test]
fn the_tsc_is_l1s_whichever_way_l2_reads_it() {
    const TSC: u32 = 0x10;
    const OFFSET: u64 = 1 << 50;
    check(|| {
        let mut l1 = L1::in_vmx();
        put_identity(&mut l1);
        let reads: [Code; 2] = [
            |asm| emit!(asm, rdtsc();),
            |asm| emit!(asm, mov(ecx, TSC); rdmsr();),
        ];
        let store = |asm: &mut CodeAssembler, at: u64| {
            emit!(asm, shl(rdx, 32); or(rax, rdx); mov(qword_ptr(at), rax););
        };
        for controls in sharing() {
            for read in reads {
                let program = l1.l2(|asm| {
                    read(asm);
                    store(asm, layout::L2_DATA);
                    emit!(asm, vmcall(););
                });
                emit!(l1.asm, rdtsc(););
                store(&mut l1.asm, layout::L2_DATA + 8);
                enter_sharing(&mut l1, controls, program, &[(Field::TscOffset, OFFSET)]);
                l1.value("between L1's", 1, |asm| {
                    emit!(asm,
                        rdtsc();
                        shl(rdx, 32);
                        or(rax, rdx);
                        mov(rcx, OFFSET);
                        mov(rdx, qword_ptr(layout::L2_DATA));
                        sub(rdx, rcx);
                        sub(rax, rdx);
                        seta(al);
                        sub(rdx, qword_ptr(layout::L2_DATA + 8));
                        seta(cl);
                        and(al, cl);
                        movzx(eax, al);
                    );
                });
            }
        }
        l1
    });
}

#[test]
fn msrs_are_l1s_whichever_way_they_are_written() {
    /// IA32_MTRR_PHYSBASE0, and IA32_KERNEL_GS_BASE.
    const MSRS: [u32; 2] = [0x200, 0xc000_0102];
    const AREA: u64 = layout::IO_BITMAP_A;
    check(|| {
        let mut l1 = L1::in_vmx();
        put_identity(&mut l1);
        let read = |l1: &mut L1, msr: u32, expected: u64| {
            l1.value(&format!("{msr:x}"), expected, |asm| {
                emit!(asm, mov(ecx, msr); rdmsr(););
            });
        };
        for controls in sharing() {
            for msr in MSRS {
                let program = l1.l2(|asm| {
                    emit!(asm,
                        mov(ecx, msr);
                        rdmsr();
                        mov(dword_ptr(layout::L2_DATA), eax);
                        xor(edx, edx);
                        mov(eax, 0x40_0006);
                        wrmsr();
                        vmcall();
                    );
                });
                emit!(l1.asm,
                    mov(ecx, msr);
                    xor(edx, edx);
                    mov(eax, 0x50_0006);
                    wrmsr();
                );
                enter_sharing(&mut l1, controls, program, &[]);
                read(&mut l1, msr, 0x40_0006);
                l1.value("read by L2", 0x50_0006, |asm| {
                    emit!(asm, mov(eax, dword_ptr(layout::L2_DATA)););
                });
                let calls = l1.l2(|asm| emit!(asm, vmcall();));
                l1.store(AREA, msr.into());
                l1.store(AREA + 8, 0x60_0006);
                let area = [
                    (Field::VmExitMsrLoadAddr, AREA),
                    (Field::VmExitMsrLoadCount, 1),
                ];
                enter_sharing(&mut l1, controls, calls, &area);
                read(&mut l1, msr, 0x60_0006);
            }
        }
        l1
    });
}
