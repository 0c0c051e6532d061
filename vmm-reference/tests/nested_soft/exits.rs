// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Instructions of L2's that exit, always or by a control, and those that L1 lets pass.

use iced_x86::code_asm::*;
use nested_vmx::controls::{PinControls, PrimaryControls, SecondaryControls};
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::vmcs::Field;

use crate::child::check;
use crate::ept::{EPTP, put_identity};
use crate::l1::{Controls, L1, emit};
use crate::layout;
use crate::vmcs12::CR0;

type Program = fn(&mut CodeAssembler);

/// An instruction, and the exit: reason, length, qualification.
type Exit = (&'static str, Program, ExitReason, u64, u64);

/// Runs each with these controls and fields; after the exit, L2 goes on behind the instruction.
fn expect_exits(controls: Controls, fields: &[(Field, u64)], exits: &[Exit]) {
    check(|| {
        let mut l1 = L1::in_vmx();
        put_identity(&mut l1);
        for (name, program, reason, length, qualification) in exits {
            let start = l1.l2(program);
            let call = l1.l2(|asm| emit!(asm, vmcall();));
            l1.new_vmcs(controls, fields);
            l1.write(&[(Field::GuestRip, start), (Field::EptPointer, EPTP)]);
            let seen = [
                (Field::GuestRip, start),
                (Field::VmExitInstructionLen, *length),
                (Field::ExitQualification, *qualification),
            ];
            l1.enter(name, *reason, &seen);
            l1.write(&[(Field::GuestRip, call)]);
            l1.enter("then call", ExitReason::VMCALL, &[(Field::GuestRip, call)]);
        }
        l1
    });
}

/// Runs each until it calls; nothing else exits.
fn expect_none(controls: Controls, fields: &[(Field, u64)], programs: &[(&str, Program)]) {
    check(|| {
        let mut l1 = L1::in_vmx();
        for (name, program) in programs {
            let start = l1.l2(|asm| {
                program(asm);
                asm.vmcall().unwrap();
            });
            l1.new_vmcs(controls, fields);
            l1.write(&[(Field::GuestRip, start)]);
            l1.enter(
                name,
                ExitReason::VMCALL,
                &[(Field::GuestRsp, layout::L2_STACK)],
            );
        }
        l1
    });
}

#[test]
fn some_instructions_always_exit() {
    expect_exits(
        Controls::LONG,
        &[],
        &[
            ("cpuid", |asm| emit!(asm, cpuid();), ExitReason::CPUID, 2, 0),
            (
                "vmcall",
                |asm| emit!(asm, vmcall();),
                ExitReason::VMCALL,
                3,
                0,
            ),
            ("invd", |asm| emit!(asm, invd();), ExitReason::INVD, 2, 0),
            (
                "vmxoff",
                |asm| emit!(asm, vmxoff();),
                ExitReason::VMXOFF,
                3,
                0,
            ),
            (
                "vmlaunch",
                |asm| emit!(asm, vmlaunch();),
                ExitReason::VMLAUNCH,
                3,
                0,
            ),
            (
                "vmresume",
                |asm| emit!(asm, vmresume();),
                ExitReason::VMRESUME,
                3,
                0,
            ),
            (
                "vmread",
                |asm| emit!(asm, vmread(rax, rdx);),
                ExitReason::VMREAD,
                3,
                0,
            ),
            (
                "vmwrite",
                |asm| emit!(asm, vmwrite(rdx, rax);),
                ExitReason::VMWRITE,
                3,
                0,
            ),
            (
                "vmclear",
                |asm| emit!(asm, vmclear(qword_ptr(rbx + 16));),
                ExitReason::VMCLEAR,
                5,
                16,
            ),
            (
                "vmptrld",
                |asm| emit!(asm, vmptrld(qword_ptr(rbx + 16));),
                ExitReason::VMPTRLD,
                4,
                16,
            ),
            (
                "vmptrst",
                |asm| emit!(asm, vmptrst(qword_ptr(rbx + 16));),
                ExitReason::VMPTRST,
                4,
                16,
            ),
            (
                "vmxon",
                |asm| emit!(asm, vmxon(qword_ptr(rbx + 16));),
                ExitReason::VMXON,
                5,
                16,
            ),
        ],
    );
}

#[test]
fn some_instructions_exit_by_a_control() {
    use PrimaryControls as P;
    expect_exits(
        Controls {
            secondary: (SecondaryControls::WBINVD_EXITING | SecondaryControls::ENABLE_EPT).bits(),
            ..Controls::primary(
                P::HLT_EXITING
                    | P::INVLPG_EXITING
                    | P::RDPMC_EXITING
                    | P::RDTSC_EXITING
                    | P::MOV_DR_EXITING
                    | P::PAUSE_EXITING
                    | P::CR3_LOAD_EXITING
                    | P::CR3_STORE_EXITING
                    | P::CR8_LOAD_EXITING
                    | P::CR8_STORE_EXITING
                    | P::ACTIVATE_SECONDARY_CONTROLS,
            )
        },
        &[],
        &[
            ("hlt", |asm| emit!(asm, hlt();), ExitReason::HLT, 1, 0),
            ("pause", |asm| emit!(asm, pause();), ExitReason::PAUSE, 2, 0),
            ("rdtsc", |asm| emit!(asm, rdtsc();), ExitReason::RDTSC, 2, 0),
            ("rdpmc", |asm| emit!(asm, rdpmc();), ExitReason::RDPMC, 2, 0),
            (
                "wbinvd",
                |asm| emit!(asm, wbinvd();),
                ExitReason::WBINVD,
                2,
                0,
            ),
            (
                "invlpg",
                |asm| emit!(asm, invlpg(byte_ptr(0x12_3456));),
                ExitReason::INVLPG,
                8,
                0x12_3456,
            ),
            (
                "mov dr7",
                |asm| emit!(asm, mov(dr7, rcx);),
                ExitReason::DR_ACCESS,
                3,
                0x107,
            ),
            (
                "mov from dr6",
                |asm| emit!(asm, mov(rbx, dr6);),
                ExitReason::DR_ACCESS,
                3,
                0x316,
            ),
            (
                "mov cr3",
                |asm| emit!(asm, mov(cr3, rdi);),
                ExitReason::CR_ACCESS,
                3,
                0x703,
            ),
            (
                "mov from cr3",
                |asm| emit!(asm, mov(r9, cr3);),
                ExitReason::CR_ACCESS,
                4,
                0x913,
            ),
            (
                "mov cr8",
                |asm| emit!(asm, mov(cr8, rax);),
                ExitReason::CR_ACCESS,
                4,
                0x008,
            ),
            (
                "mov from cr8",
                |asm| emit!(asm, mov(rdx, cr8);),
                ExitReason::CR_ACCESS,
                4,
                0x218,
            ),
        ],
    );
}

#[test]
fn without_the_control_they_do_not() {
    expect_none(
        Controls::LONG,
        &[],
        &[
            ("pause", |asm| emit!(asm, pause();)),
            ("rdtsc", |asm| emit!(asm, rdtsc();)),
            (
                "invlpg",
                |asm| emit!(asm, invlpg(byte_ptr(layout::L2_DATA));),
            ),
            ("mov dr7", |asm| emit!(asm, mov(ecx, 0x400); mov(dr7, rcx);)),
            ("mov from dr6", |asm| emit!(asm, mov(rbx, dr6);)),
            ("cr3", |asm| emit!(asm, mov(rax, cr3); mov(cr3, rax);)),
        ],
    );
}

#[test]
fn control_registers_exit_where_l1_owns_the_bits() {
    const TS: u64 = 8;
    const VMXE: u64 = 0x2000;
    expect_exits(
        Controls::LONG,
        &[
            (Field::Cr0GuestHostMask, TS),
            (Field::Cr0ReadShadow, TS),
            (Field::Cr4GuestHostMask, VMXE),
            (Field::Cr4ReadShadow, 0),
        ],
        &[
            (
                "clts",
                |asm| emit!(asm, clts();),
                ExitReason::CR_ACCESS,
                2,
                0x20,
            ),
            (
                "mov cr0",
                |asm| emit!(asm, mov(cr0, rbp);),
                ExitReason::CR_ACCESS,
                3,
                0x500,
            ),
        ],
    );
    check(|| {
        let mut l1 = L1::in_vmx();
        let shown = l1.l2(|asm| {
            emit!(asm,
                mov(rax, cr0);
                mov(qword_ptr(layout::L2_DATA), rax);
                mov(rax, cr4);
                mov(qword_ptr(layout::L2_DATA + 8), rax);
                // The bits that are L1's as they are shown; WP is L2's own.
                mov(rax, cr0);
                or(eax, 0x1_0000);
                mov(cr0, rax);
                mov(rax, cr0);
                mov(qword_ptr(layout::L2_DATA + 16), rax);
                vmcall();
            );
        });
        let vmxe = l1.l2(|asm| emit!(asm, mov(eax, 0x2020); mov(cr4, rax);));
        let lmsw = l1.l2(|asm| emit!(asm, mov(eax, 0x31); lmsw(eax);));
        l1.new_vmcs(
            Controls::LONG,
            &[
                (Field::Cr0GuestHostMask, TS),
                (Field::Cr0ReadShadow, TS),
                (Field::Cr4GuestHostMask, VMXE),
                (Field::Cr4ReadShadow, 0),
                (Field::GuestRip, shown),
            ],
        );
        l1.enter(
            "shown",
            ExitReason::VMCALL,
            &[(Field::GuestCr0, CR0 | 0x1_0000)],
        );
        l1.word("CR0", layout::L2_DATA, CR0 | TS);
        l1.word("CR4", layout::L2_DATA + 8, 0x20);
        l1.word("CR0, WP", layout::L2_DATA + 16, CR0 | TS | 0x1_0000);
        l1.write(&[(Field::GuestRip, vmxe)]);
        let at = |rip, qualification| {
            [
                (Field::GuestRip, rip),
                (Field::VmExitInstructionLen, 3),
                (Field::ExitQualification, qualification),
            ]
        };
        l1.enter("VMXE", ExitReason::CR_ACCESS, &at(vmxe + 5, 4));
        l1.write(&[(Field::GuestRip, lmsw)]);
        l1.enter("lmsw", ExitReason::CR_ACCESS, &at(lmsw + 5, 0x31_0030));
        l1
    });
}

#[test]
fn values_of_cr3_that_l1_has_named_do_not_exit() {
    check(|| {
        let mut l1 = L1::in_vmx();
        let load = l1.l2(|asm| {
            emit!(asm,
                mov(ebx, layout::PML4 as u32);
                mov(cr3, rbx);
                or(ebx, 0x18);
                mov(cr3, rbx);
            );
        });
        l1.new_vmcs(
            Controls::primary(PrimaryControls::CR3_LOAD_EXITING),
            &[
                (Field::Cr3TargetCount, 1),
                (Field::Cr3TargetValue0, layout::PML4),
                (Field::GuestRip, load),
            ],
        );
        let seen = [
            (Field::GuestRip, load + 11),
            (Field::ExitQualification, 0x303),
        ];
        l1.enter("another", ExitReason::CR_ACCESS, &seen);
        l1
    });
}

#[test]
fn ports_exit_by_their_bits() {
    check(|| {
        let mut l1 = L1::in_vmx();
        // Ports 0x80 and 0x8001.
        l1.put(layout::IO_BITMAP_A + 0x10, vec![1]);
        l1.put(layout::IO_BITMAP_B, vec![2]);
        let print = l1.l2(|asm| {
            emit!(asm,
                mov(edx, 0x3f8);
                mov(eax, 0x4c);
                out(dx, al);
                mov(eax, 0x32);
                out(dx, al);
                mov(eax, 0x0a);
                out(dx, al);
                vmcall();
            );
        });
        let exits: [(&str, u64, Program, u64, u64); 5] = [
            ("out imm", 0, |asm| emit!(asm, out(0x80, al);), 2, 0x80_0040),
            ("in imm", 0, |asm| emit!(asm, in_(eax, 0x80);), 2, 0x80_004b),
            (
                "out dx",
                5,
                |asm| emit!(asm, mov(edx, 0x80); out(dx, al);),
                1,
                0x80_0000,
            ),
            (
                "in dx",
                5,
                |asm| emit!(asm, mov(edx, 0x8001); in_(ax, dx);),
                2,
                0x8001_0009,
            ),
            // Its last byte is at 0x80.
            (
                "out across",
                5,
                |asm| emit!(asm, mov(edx, 0x7d); out(dx, eax);),
                1,
                0x7d_0003,
            ),
        ];
        l1.new_vmcs(
            Controls::primary(PrimaryControls::USE_IO_BITMAPS),
            &[
                (Field::IoBitmapA, layout::IO_BITMAP_A),
                (Field::IoBitmapB, layout::IO_BITMAP_B),
            ],
        );
        for (name, before, program, length, qualification) in exits {
            let start = l1.l2(program);
            l1.write(&[(Field::GuestRip, start)]);
            let seen = [
                (Field::GuestRip, start + before),
                (Field::VmExitInstructionLen, length),
                (Field::ExitQualification, qualification),
            ];
            l1.enter(name, ExitReason::IO_INSTRUCTION, &seen);
        }
        let string = l1.l2(|asm| {
            emit!(asm,
                mov(edx, 0x80);
                mov(esi, layout::L2_DATA as u32);
            );
            asm.rep().outsb().unwrap();
        });
        l1.write(&[(Field::GuestRip, string)]);
        let seen = [
            (Field::GuestRip, string + 10),
            (Field::ExitQualification, 0x80_0030),
            (Field::GuestLinearAddress, layout::L2_DATA),
        ];
        l1.enter("rep outsb", ExitReason::IO_INSTRUCTION, &seen);
        // The serial port is L2's.
        l1.write(&[(Field::GuestRip, print)]);
        l1.expect("print");
        l1.expect("L2\n");
        l1.say("print");
        l1.enter("", ExitReason::VMCALL, &[]);
        l1
    });
}

#[test]
fn msrs_exit_by_their_bits() {
    const ESP: u64 = 0x0012_3450;
    check(|| {
        let mut l1 = L1::in_vmx();
        // Reads of 0x174, writes of 0x176; reads of 0xc0000102, writes of 0xc0000081.
        l1.put(layout::MSR_BITMAP + (0x174 >> 3), vec![1 << 4]);
        l1.put(layout::MSR_BITMAP + 0x800 + (0x176 >> 3), vec![1 << 6]);
        l1.put(layout::MSR_BITMAP + 0x400 + (0x102 >> 3), vec![1 << 2]);
        l1.put(layout::MSR_BITMAP + 0xc00 + (0x81 >> 3), vec![1 << 1]);
        l1.new_vmcs(
            Controls::primary(PrimaryControls::USE_MSR_BITMAPS),
            &[(Field::MsrBitmap, layout::MSR_BITMAP)],
        );
        let exits: [(&str, Program, ExitReason); 5] = [
            (
                "0x174",
                |asm| emit!(asm, mov(ecx, 0x174); rdmsr();),
                ExitReason::RDMSR,
            ),
            (
                "0x176",
                |asm| emit!(asm, mov(ecx, 0x176); wrmsr();),
                ExitReason::WRMSR,
            ),
            (
                "0x102",
                |asm| emit!(asm, mov(ecx, 0xc000_0102_u32); rdmsr();),
                ExitReason::RDMSR,
            ),
            (
                "0x81",
                |asm| emit!(asm, mov(ecx, 0xc000_0081_u32); wrmsr();),
                ExitReason::WRMSR,
            ),
            // In neither range.
            (
                "outside",
                |asm| emit!(asm, mov(ecx, 0x4000_0000); rdmsr();),
                ExitReason::RDMSR,
            ),
        ];
        for (name, program, reason) in exits {
            let start = l1.l2(program);
            l1.write(&[(Field::GuestRip, start)]);
            let seen = [
                (Field::GuestRip, start + 5),
                (Field::VmExitInstructionLen, 2),
            ];
            l1.enter(name, reason, &seen);
        }
        let pass = l1.l2(|asm| {
            emit!(asm,
                mov(ecx, 0x175);
                mov(eax, ESP as u32);
                xor(edx, edx);
                wrmsr();
                xor(eax, eax);
                rdmsr();
                mov(qword_ptr(layout::L2_DATA), rax);
                vmcall();
            );
        });
        l1.write(&[(Field::GuestRip, pass)]);
        l1.enter(
            "pass",
            ExitReason::VMCALL,
            &[(Field::GuestSysenterEsp, ESP)],
        );
        l1.word("read", layout::L2_DATA, ESP);
        // L1's own is as it was.
        l1.value("L1's", 0, |asm| {
            emit!(asm,
                mov(ecx, 0x175);
                rdmsr();
            );
        });
        l1
    });
}

#[test]
fn the_tsc_has_l1s_offset() {
    check(|| {
        let mut l1 = L1::in_vmx();
        let read = l1.l2(|asm| {
            emit!(asm,
                rdtsc();
                shl(rdx, 32);
                or(rax, rdx);
                mov(qword_ptr(layout::L2_DATA), rax);
                vmcall();
            );
        });
        for (offset, top) in [(0, 0), (1 << 62, 1)] {
            l1.new_vmcs(
                Controls::primary(PrimaryControls::USE_TSC_OFFSETTING),
                &[(Field::TscOffset, offset), (Field::GuestRip, read)],
            );
            l1.enter("rdtsc", ExitReason::VMCALL, &[]);
            l1.value("top bits", top, |asm| {
                emit!(asm,
                    mov(rax, qword_ptr(layout::L2_DATA));
                    shr(rax, 62);
                );
            });
        }
        l1
    });
}

#[test]
fn l2_is_stopped_after_an_instruction_or_before_the_first() {
    check(|| {
        let mut l1 = L1::in_vmx();
        let nops = l1.l2(|asm| emit!(asm, nop(); nop(); vmcall();));
        l1.new_vmcs(
            Controls::primary(PrimaryControls::MONITOR_TRAP_FLAG),
            &[(Field::GuestRip, nops)],
        );
        let trap = ExitReason::MONITOR_TRAP_FLAG;
        l1.enter("trap", trap, &[(Field::GuestRip, nops + 1)]);
        l1.enter("trap", trap, &[(Field::GuestRip, nops + 2)]);
        l1.enter("call", ExitReason::VMCALL, &[(Field::GuestRip, nops + 2)]);
        let timer = Controls {
            pin: PinControls::PREEMPTION_TIMER.bits(),
            ..Controls::LONG
        };
        l1.new_vmcs(
            timer,
            &[(Field::VmxPreemptionTimerValue, 0), (Field::GuestRip, nops)],
        );
        l1.enter(
            "timer",
            ExitReason::PREEMPTION_TIMER,
            &[(Field::GuestRip, nops)],
        );
        l1.new_vmcs(
            Controls::primary(PrimaryControls::INTERRUPT_WINDOW_EXITING),
            &[(Field::GuestRflags, 0x202), (Field::GuestRip, nops)],
        );
        let window = ExitReason::INTERRUPT_WINDOW;
        l1.enter("window", window, &[(Field::GuestRip, nops)]);
        l1
    });
}
