// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Exceptions in L2: they exit where L1 wants them, and reach L2's own handler where it does not.

use iced_x86::code_asm::*;
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::vmcs::Field;

use crate::child::check;
use crate::ept::{EPTP, put_identity};
use crate::l1::{Controls, L1, emit};
use crate::layout;
use crate::tables::{CODE_64, DATA, IDT_LIMIT, words};

/// Where L1 and L2 have no page.
const NO_PAGE: u64 = 5 << 30;
const NOT_CANONICAL: u64 = 1 << 62;
/// What is on L2's stack below its pointer.
const BELOW: u64 = 0x7777_0000_7777_0000;
/// IF, which a handler has to find as it was; and the bit that is always 1.
const RFLAGS: u64 = 0x202;
/// Flags that no arithmetic changes, without RF.
const SYSTEM_FLAGS: u32 = 0x000e_7700;

/// An exception, and the instruction that raises it behind another of so many bytes.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    vector: u64,
    error_code: Option<u64>,
    qualification: u64,
    before: u64,
    program: fn(&mut CodeAssembler),
}

const CASES: [Case; 7] = [
    Case {
        name: "#DE",
        vector: 0,
        error_code: None,
        qualification: 0,
        before: 2,
        program: |asm| emit!(asm, xor(ecx, ecx); div(ecx);),
    },
    Case {
        name: "#UD",
        vector: 6,
        error_code: None,
        qualification: 0,
        before: 1,
        program: |asm| emit!(asm, nop(); ud2();),
    },
    Case {
        name: "#GP, address",
        vector: 13,
        error_code: Some(0),
        qualification: 0,
        before: 10,
        program: |asm| emit!(asm, mov(rbx, NOT_CANONICAL); mov(rcx, qword_ptr(rbx));),
    },
    Case {
        name: "#GP, selector",
        vector: 13,
        error_code: Some(0x100),
        qualification: 0,
        before: 5,
        program: |asm| emit!(asm, mov(ebx, 0x100); mov(es, ebx);),
    },
    Case {
        name: "#PF, read",
        vector: 14,
        error_code: Some(0),
        qualification: NO_PAGE + 0x123,
        before: 10,
        program: |asm| emit!(asm, mov(rbx, NO_PAGE); mov(rcx, qword_ptr(rbx + 0x123));),
    },
    Case {
        name: "#PF, write",
        vector: 14,
        error_code: Some(2),
        qualification: NO_PAGE + 0x10,
        before: 10,
        program: |asm| emit!(asm, mov(rbx, NO_PAGE); mov(qword_ptr(rbx + 0x10), rcx);),
    },
    Case {
        name: "#PF, fetch",
        vector: 14,
        error_code: Some(0),
        qualification: NO_PAGE,
        before: 0,
        program: |asm| emit!(asm, mov(rbx, NO_PAGE); jmp(rbx);),
    },
];

impl Case {
    /// Where the exception is.
    fn rip(&self, program: u64) -> u64 {
        match self.name {
            "#PF, fetch" => NO_PAGE,
            _ => program + self.before,
        }
    }
}

fn mark_stack(l1: &mut L1) {
    for word in 1..=8 {
        l1.store(layout::L2_STACK - 8 * word, BELOW + word);
    }
}

fn wanted(controls: Controls, idt_limit: u64) {
    check(|| {
        let mut l1 = L1::in_vmx();
        put_identity(&mut l1);
        for case in CASES {
            let program = l1.l2(case.program);
            l1.new_vmcs(
                controls,
                &[
                    (Field::ExceptionBitmap, 1 << 0 | 1 << 6 | 1 << 13 | 1 << 14),
                    (Field::GuestRip, program),
                    (Field::GuestRflags, RFLAGS),
                    (Field::EptPointer, EPTP),
                    (Field::GuestIdtrLimit, idt_limit),
                ],
            );
            mark_stack(&mut l1);
            let has_code = u64::from(case.error_code.is_some()) << 11;
            let mut fields = vec![
                (Field::VmExitIntrInfo, 0x8000_0300 | has_code | case.vector),
                (Field::ExitQualification, case.qualification),
                (Field::GuestRip, case.rip(program)),
                (Field::GuestRsp, layout::L2_STACK),
                (Field::IdtVectoringInfoField, 0),
            ];
            if let Some(code) = case.error_code {
                fields.push((Field::VmExitIntrErrorCode, code));
            }
            l1.enter(case.name, ExitReason::EXCEPTION_OR_NMI, &fields);
            for word in 1..=8 {
                l1.word("below the stack", layout::L2_STACK - 8 * word, BELOW + word);
            }
        }
        l1
    });
}

fn not_wanted(controls: Controls) {
    check(|| {
        let mut l1 = L1::in_vmx();
        put_identity(&mut l1);
        for case in CASES {
            let program = l1.l2(case.program);
            l1.new_vmcs(
                controls,
                &[
                    (Field::GuestRip, program),
                    (Field::GuestRflags, RFLAGS),
                    (Field::EptPointer, EPTP),
                ],
            );
            l1.enter(
                case.name,
                ExitReason::VMCALL,
                &[(Field::GuestRsp, layout::L2_STACK)],
            );
            let frame = [
                ("vector", case.vector),
                ("error code", case.error_code.unwrap_or(0)),
                ("RIP", case.rip(program)),
                ("CS", CODE_64.into()),
            ];
            for (at, (name, expected)) in (0..).zip(frame) {
                l1.word(name, layout::L2_FRAME + 8 * at, expected);
            }
            l1.value("RFLAGS", 0x200, |asm| {
                emit!(asm,
                    mov(rax, qword_ptr(layout::L2_FRAME + 32));
                    and(eax, SYSTEM_FLAGS);
                );
            });
            l1.word("RSP", layout::L2_FRAME + 40, layout::L2_STACK);
            l1.word("SS", layout::L2_FRAME + 48, DATA.into());
        }
        l1
    });
}

#[test]
fn exceptions_that_l1_wants_exit_and_leave_l2_as_it_was() {
    wanted(Controls::LONG, IDT_LIMIT.into());
    wanted(Controls::ept(), IDT_LIMIT.into());
}

/// Such an L2 cannot handle any of them.
#[test]
fn exceptions_that_l1_wants_need_no_handlers_in_l2() {
    wanted(Controls::LONG, 0);
    wanted(Controls::ept(), 0);
}

#[test]
fn exceptions_that_l1_does_not_want_reach_l2s_handler() {
    not_wanted(Controls::LONG);
    not_wanted(Controls::ept());
}

#[test]
fn page_faults_exit_by_their_error_code() {
    check(|| {
        let mut l1 = L1::in_vmx();
        let [.., read, write, _] = CASES;
        let [read, write] = [read, write].map(|case| l1.l2(case.program));
        let exit = ExitReason::EXCEPTION_OR_NMI;
        // With bit 14 of the bitmap 1, codes that match exit; with 0, those that do not.
        for (bitmap, matching, read_exits) in [
            (1 << 14, 2, false),
            (1 << 14, 0, true),
            (0, 2, true),
            (0, 0, false),
        ] {
            for (name, program, exits) in
                [("read", read, read_exits), ("write", write, !read_exits)]
            {
                l1.new_vmcs(
                    Controls::LONG,
                    &[
                        (Field::ExceptionBitmap, bitmap),
                        (Field::PageFaultErrorCodeMask, 2),
                        (Field::PageFaultErrorCodeMatch, matching),
                        (Field::GuestRip, program),
                    ],
                );
                let reason = if exits { exit } else { ExitReason::VMCALL };
                l1.enter(&format!("{name} {bitmap:x} {matching}"), reason, &[]);
            }
        }
        l1
    });
}

#[test]
fn an_exception_in_the_delivery_of_another_exits_or_shuts_l2_down() {
    check(|| {
        let mut l1 = L1::in_vmx();
        let invalid = l1.l2(|asm| emit!(asm, ud2();));
        // No handler at all: #UD, then #GP, then #DF, then nothing.
        l1.new_vmcs(
            Controls::LONG,
            &[(Field::GuestIdtrLimit, 0), (Field::GuestRip, invalid)],
        );
        l1.enter("no handlers", ExitReason::TRIPLE_FAULT, &[]);
        // #GP exits, and tells what was to be delivered.
        l1.new_vmcs(
            Controls::LONG,
            &[
                (Field::GuestIdtrLimit, 0),
                (Field::ExceptionBitmap, 1 << 13),
                (Field::GuestRip, invalid),
            ],
        );
        let fields = [
            (Field::VmExitIntrInfo, 0x8000_0b0d),
            (Field::VmExitIntrErrorCode, 6 << 3 | 2 | 1),
            (Field::IdtVectoringInfoField, 0x8000_0306),
            (Field::GuestRip, invalid),
        ];
        l1.enter("#GP", ExitReason::EXCEPTION_OR_NMI, &fields);
        // What L1 injects finds no stack: no double fault, if L1 has the page faults.
        let nop = l1.l2(|asm| emit!(asm, nop(); vmcall();));
        l1.new_vmcs(
            Controls::LONG,
            &[
                (Field::ExceptionBitmap, 1 << 14),
                (Field::VmEntryIntrInfoField, 0x8000_0b0e),
                (Field::VmEntryExceptionErrorCode, 5),
                (Field::GuestRip, nop),
                (Field::GuestRsp, NO_PAGE + 0x800),
            ],
        );
        let fields = [
            (Field::VmExitIntrInfo, 0x8000_0b0e),
            (Field::VmExitIntrErrorCode, 2),
            (Field::ExitQualification, NO_PAGE + 0x7f8),
            (Field::IdtVectoringInfoField, 0x8000_0b0e),
            (Field::IdtVectoringErrorCode, 5),
            (Field::GuestRip, nop),
            (Field::GuestRsp, NO_PAGE + 0x800),
        ];
        l1.enter("no stack", ExitReason::EXCEPTION_OR_NMI, &fields);
        l1
    });
}

#[test]
fn what_l1_injects_arrives() {
    check(|| {
        let mut l1 = L1::in_vmx();
        let nop = l1.l2(|asm| emit!(asm, nop(); vmcall();));
        for (name, info, code, rip) in [
            ("#GP", 0x8000_0b0d, 0x1230, nop),
            ("#UD", 0x8000_0306, 0, nop),
            ("interrupt", 0x8000_0014, 0, nop),
            ("NMI", 0x8000_0202, 0, nop),
            ("INT n", 0x8000_0414, 0, nop + 2),
        ] {
            l1.new_vmcs(
                Controls::LONG,
                &[
                    (Field::VmEntryIntrInfoField, info),
                    (Field::VmEntryExceptionErrorCode, code),
                    (Field::VmEntryInstructionLen, 2),
                    (Field::GuestRip, nop),
                    (Field::GuestRflags, RFLAGS),
                ],
            );
            // The entry has used it up.
            let used = (Field::VmEntryIntrInfoField, info & 0x7fff_ffff);
            l1.enter(name, ExitReason::VMCALL, &[used]);
            l1.word("vector", layout::L2_FRAME, info & 0xff);
            l1.word("error code", layout::L2_FRAME + 8, code);
            l1.word("RIP", layout::L2_FRAME + 16, rip);
        }
        l1
    });
}

#[test]
fn user_code_of_l2_gets_to_its_kernel() {
    use Field::*;
    check(|| {
        let mut l1 = L1::in_vmx();
        // The stack for events in user code.
        l1.put(layout::TSS + 4, words(&[layout::L2_STACK - 0x1000]));
        let nop = l1.l2(|asm| emit!(asm, nop(); vmcall();));
        let user = [
            (GuestCsSelector, u64::from(CODE_64) | 3),
            (GuestCsArBytes, 0xa0fb),
            (GuestSsSelector, u64::from(DATA) | 3),
            (GuestSsArBytes, 0xc0f3),
            // What user code must not access is the kernel's all the same.
            (ExceptionBitmap, 1 << 14),
            (GuestRip, nop),
            (GuestRflags, RFLAGS),
        ];
        l1.new_vmcs(Controls::LONG, &user);
        // A page of the kernel's.
        let fields = [
            (VmExitIntrInfo, 0x8000_0b0e),
            (VmExitIntrErrorCode, 5),
            (ExitQualification, nop),
            (GuestRip, nop),
        ];
        l1.enter("fetch", ExitReason::EXCEPTION_OR_NMI, &fields);
        l1.new_vmcs(Controls::LONG, &user);
        l1.write(&[
            (VmEntryIntrInfoField, 0x8000_0b0d),
            (VmEntryExceptionErrorCode, 0x10),
        ]);
        let kernel = (GuestCsSelector, CODE_64.into());
        l1.enter("injected", ExitReason::VMCALL, &[kernel]);
        l1.word("vector", layout::L2_FRAME, 13);
        l1.word("error code", layout::L2_FRAME + 8, 0x10);
        l1.word("RIP", layout::L2_FRAME + 16, nop);
        l1.word("CS", layout::L2_FRAME + 24, u64::from(CODE_64) | 3);
        l1
    });
}
