// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! VMCSs that point at what is no memory.

use iced_x86::code_asm::*;
use nested_vmx::controls::{PrimaryControls, SecondaryControls};
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::instruction_error::InstructionError;
use nested_vmx::vmcs::Field;

use crate::child::check;
use crate::l1::{Controls, L1, emit};
use crate::layout;

/// Where no memory is.
const ELSEWHERE: [(&str, u64); 3] = [
    ("a device", layout::DEVICE),
    ("nothing", layout::NOTHING),
    ("behind memory", layout::MEMORY),
];

/// What no address of a page is: unaligned, wider than physical addresses.
const FORBIDDEN: [(&str, u64); 2] = [("unaligned", layout::EPT + 8), ("too wide", 1 << 52)];

#[test]
fn bitmaps_that_are_no_memory_have_all_bits() {
    check(|| {
        let mut l1 = L1::in_vmx();
        let out = l1.l2(|asm| emit!(asm, out(0x80, al);));
        let rdmsr = l1.l2(|asm| {
            emit!(asm,
                mov(ecx, 0x174);
                rdmsr();
            );
        });
        let wrmsr = l1.l2(|asm| {
            emit!(asm,
                mov(ecx, 0xc000_0102_u32);
                wrmsr();
            );
        });
        for (name, pointer) in ELSEWHERE {
            l1.new_vmcs(
                Controls::primary(
                    PrimaryControls::USE_IO_BITMAPS | PrimaryControls::USE_MSR_BITMAPS,
                ),
                &[
                    (Field::IoBitmapA, pointer),
                    (Field::IoBitmapB, pointer),
                    (Field::MsrBitmap, pointer),
                    (Field::GuestRip, out),
                ],
            );
            let port = (Field::ExitQualification, 0x80_0040);
            let at = (Field::GuestRip, out);
            l1.enter(
                &format!("{name}: out"),
                ExitReason::IO_INSTRUCTION,
                &[port, at],
            );
            for (what, program, reason) in [
                ("rdmsr", rdmsr, ExitReason::RDMSR),
                ("wrmsr", wrmsr, ExitReason::WRMSR),
            ] {
                l1.write(&[(Field::GuestRip, program)]);
                let at = (Field::GuestRip, program + 5);
                l1.enter(&format!("{name}: {what}"), reason, &[at]);
            }
        }
        l1
    });
}

#[test]
fn pointers_that_cannot_be_are_refused() {
    use Field::*;
    check(|| {
        let mut l1 = L1::in_vmx();
        let call = l1.l2(|asm| emit!(asm, vmcall();));
        let io = Controls::primary(PrimaryControls::USE_IO_BITMAPS);
        let msr = Controls::primary(PrimaryControls::USE_MSR_BITMAPS);
        let pointers = [
            ("I/O bitmap A", io, IoBitmapA),
            ("I/O bitmap B", io, IoBitmapB),
            ("MSR bitmap", msr, MsrBitmap),
        ];
        for (name, controls, field) in pointers {
            for (what, pointer) in FORBIDDEN {
                l1.new_vmcs(
                    controls,
                    &[
                        (IoBitmapA, layout::IO_BITMAP_A),
                        (IoBitmapB, layout::IO_BITMAP_B),
                        (MsrBitmap, layout::MSR_BITMAP),
                        (GuestRip, call),
                        (field, pointer),
                    ],
                );
                l1.enter_fails(&format!("{name} {what}"), InstructionError::InvalidControls);
            }
        }
        let areas = [
            ("store", VmExitMsrStoreAddr, VmExitMsrStoreCount),
            ("load", VmExitMsrLoadAddr, VmExitMsrLoadCount),
            ("entry", VmEntryMsrLoadAddr, VmEntryMsrLoadCount),
        ];
        for (name, address, count) in areas {
            for (what, pointer) in FORBIDDEN {
                l1.new_vmcs(
                    Controls::LONG,
                    &[(address, pointer), (count, 1), (GuestRip, call)],
                );
                l1.enter_fails(&format!("{name} {what}"), InstructionError::InvalidControls);
            }
        }
        for (what, eptp) in [
            ("too wide", 1 << 52 | 0x1e),
            ("reserved bit", layout::EPT | 0x1e | 1 << 11),
            ("three levels", layout::EPT | 0x16),
            ("memory type", layout::EPT | 0x1b),
        ] {
            l1.new_vmcs(
                Controls::secondary(SecondaryControls::ENABLE_EPT),
                &[(EptPointer, eptp), (GuestRip, call)],
            );
            l1.enter_fails(&format!("EPTP {what}"), InstructionError::InvalidControls);
        }
        l1.new_vmcs(Controls::LONG, &[(HostCr3, 1 << 52), (GuestRip, call)]);
        l1.enter_fails("host CR3 too wide", InstructionError::InvalidHostState);
        // And one that is as it should be.
        l1.new_vmcs(Controls::LONG, &[(GuestRip, call)]);
        l1.enter("call", ExitReason::VMCALL, &[(GuestRip, call)]);
        l1
    });
}

#[test]
fn a_link_pointer_to_no_vmcs_fails_the_entry() {
    check(|| {
        let mut l1 = L1::in_vmx();
        let call = l1.l2(|asm| emit!(asm, vmcall();));
        let no_revision = [("no revision", layout::EPT)];
        for (name, pointer) in FORBIDDEN.into_iter().chain(ELSEWHERE).chain(no_revision) {
            l1.new_vmcs(
                Controls::LONG,
                &[(Field::VmcsLinkPointer, pointer), (Field::GuestRip, call)],
            );
            let failure = ExitReason::ENTRY_FAILURE_GUEST_STATE.entry_failure();
            let qualification = (Field::ExitQualification, 4);
            l1.enter(&format!("link {name}"), failure, &[qualification]);
        }
        l1
    });
}

#[test]
fn an_area_to_load_msrs_from_that_is_no_memory_fails_the_entry() {
    check(|| {
        let mut l1 = L1::in_vmx();
        let call = l1.l2(|asm| emit!(asm, vmcall();));
        for (name, pointer) in ELSEWHERE {
            l1.new_vmcs(
                Controls::LONG,
                &[
                    (Field::VmEntryMsrLoadAddr, pointer),
                    (Field::VmEntryMsrLoadCount, 1),
                    (Field::GuestRip, call),
                ],
            );
            let failure = ExitReason::ENTRY_FAILURE_MSR_LOADING.entry_failure();
            let first = (Field::ExitQualification, 1);
            l1.enter(&format!("load {name}"), failure, &[first]);
        }
        l1
    });
}

#[test]
fn areas_of_exits_that_are_no_memory_abort() {
    for (address, count) in [
        (Field::VmExitMsrLoadAddr, Field::VmExitMsrLoadCount),
        (Field::VmExitMsrStoreAddr, Field::VmExitMsrStoreCount),
    ] {
        check(|| {
            let mut l1 = L1::in_vmx();
            let call = l1.l2(|asm| emit!(asm, vmcall();));
            l1.new_vmcs(
                Controls::LONG,
                &[
                    (address, layout::NOTHING),
                    (count, 1),
                    (Field::GuestRip, call),
                ],
            );
            l1.enter_shuts_down("abort");
            l1
        });
    }
}

#[test]
fn an_l1_without_page_tables_is_shut_down() {
    check(|| {
        let mut l1 = L1::in_vmx();
        let call = l1.l2(|asm| emit!(asm, vmcall();));
        l1.new_vmcs(
            Controls::LONG,
            &[(Field::HostCr3, layout::NOTHING), (Field::GuestRip, call)],
        );
        l1.enter_shuts_down("no tables");
        l1
    });
}

#[test]
fn an_l2_without_page_tables_is_shut_down() {
    check(|| {
        let mut l1 = L1::in_vmx();
        let call = l1.l2(|asm| emit!(asm, vmcall();));
        for (name, tables) in ELSEWHERE {
            l1.new_vmcs(
                Controls::LONG,
                &[(Field::GuestCr3, tables), (Field::GuestRip, call)],
            );
            l1.enter(&format!("CR3 {name}"), ExitReason::TRIPLE_FAULT, &[]);
        }
        // Code that is no memory reads as all ones: an invalid instruction, whose handler calls.
        l1.new_vmcs(Controls::LONG, &[(Field::GuestRip, layout::NOTHING)]);
        l1.enter("RIP nothing", ExitReason::VMCALL, &[]);
        l1.word("vector", layout::L2_FRAME, 6);
        l1
    });
}
