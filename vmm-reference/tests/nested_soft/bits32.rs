// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Code of 32 bits without paging: an L1 that has none gets no VMX, an L2 may have none.

use iced_x86::code_asm::*;
use nested_vmx::controls::SecondaryControls;
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::vmcs::Field;

use crate::child::{check, check_made, run_with};
use crate::ept::{EPTP, put_identity};
use crate::l1::{Controls, L1, Made, emit};
use crate::layout;
use crate::machine::{Guest, has_kvm};
use crate::tables::{CODE_32, DATA, tables, words};

const INVALID_OPCODE: u32 = 6;
const GENERAL_PROTECTION: u32 = 13;
/// VMXE.
const CR4: u32 = 0x2000;
/// NE, ET and PE.
const CR0: u32 = 0x31;
const PSE: u32 = 1 << 4;
const PAE: u32 = 1 << 5;
const PG: u32 = 1 << 31;
/// Where paging shows the lowest memory once more, and its number of a page of 2 MiB.
const ALIAS: u32 = 32 << 20;
const ALIAS_PAGE: u64 = ALIAS as u64 >> 21;
/// Where L1 goes on behind an exception, and with which ESP.
const RESUME: u32 = layout::RESUME as u32;
const STACK: u32 = RESUME + 4;

/// A vector's handler: L1 goes on, with the vector in EAX.
fn handler(vector: u32, address: u64) -> Vec<u8> {
    let mut asm = CodeAssembler::new(32).unwrap();
    emit!(asm,
        mov(eax, vector);
        mov(esp, dword_ptr(STACK));
        jmp(dword_ptr(RESUME));
    );
    asm.assemble(address).unwrap()
}

/// The IDT, with handlers of the exceptions that are waited for: as long as that of 64 bits.
fn gates() -> Vec<u8> {
    let mut gates = vec![0; 64];
    for vector in [INVALID_OPCODE, GENERAL_PROTECTION] {
        let at = stub(vector);
        gates[vector as usize] =
            at & 0xffff | u64::from(CODE_32) << 16 | 0x8e00 << 32 | at >> 16 << 48;
    }
    words(&gates)
}

fn stub(vector: u32) -> u64 {
    layout::L1_STUBS + u64::from(vector) * 32
}

/// Segments and handlers, then to [`layout::CODE`].
fn begin() -> Vec<u8> {
    let mut asm = CodeAssembler::new(32).unwrap();
    emit!(asm,
        cli();
        lgdt(ptr(layout::GDTR as u32));
        mov(eax, u32::from(DATA));
        mov(ds, eax);
        mov(ss, eax);
        mov(esp, layout::L1_STACK as u32);
        lidt(ptr(layout::L1_IDTR as u32));
    );
    let mut far = vec![0xea];
    far.extend((layout::CODE as u32).to_le_bytes());
    far.extend(CODE_32.to_le_bytes());
    asm.db(&far).unwrap();
    asm.assemble(layout::ENTRY).unwrap()
}

/// A subroutine that executes an instruction: EAX is the vector of its exception, or 25.
fn attempt(
    asm: &mut CodeAssembler,
    label: &mut CodeLabel,
    instruction: impl FnOnce(&mut CodeAssembler),
) {
    emit!(asm,
        set_label(label);
        pop(dword_ptr(RESUME));
        mov(dword_ptr(STACK), esp);
    );
    instruction(asm);
    emit!(asm,
        mov(eax, 25);
        jmp(dword_ptr(RESUME));
    );
}

fn vmxon(asm: &mut CodeAssembler) {
    emit!(asm,
        mov(dword_ptr(layout::OPERAND as u32), layout::VMXON_REGION as u32);
        mov(dword_ptr(layout::OPERAND as u32 + 4), 0);
        vmxon(qword_ptr(layout::OPERAND as u32));
    );
}

/// A subroutine that prints the letter of EAX, A being 0; and how the main program, which comes next,
/// begins.
fn print(asm: &mut CodeAssembler, label: &mut CodeLabel, main: &mut CodeLabel) {
    emit!(asm,
        set_label(label);
        add(eax, 0x41);
        mov(edx, 0x3f8);
        out(dx, al);
        ret();

        set_label(main);
        mov(ecx, 0x480);
        rdmsr();
        mov(dword_ptr(layout::VMXON_REGION as u32), eax);
    );
}

/// Three times VMXON: with VMXE 0, with VMXE, with VMXE and NE. Each prints the vector of the
/// exception as a letter, A being 0, or Z if there is none.
fn code() -> Vec<u8> {
    let mut asm = CodeAssembler::new(32).unwrap();
    let mut main = asm.create_label();
    let mut vmxon = asm.create_label();
    let mut print = asm.create_label();
    emit!(asm,
        jmp(main);
    );
    attempt(&mut asm, &mut vmxon, self::vmxon);
    self::print(&mut asm, &mut print, &mut main);
    emit!(asm,
        call(vmxon);
        call(print);
        mov(eax, CR4);
        mov(cr4, eax);
        call(vmxon);
        call(print);
        mov(eax, CR0);
        mov(cr0, eax);
        call(vmxon);
        call(print);
        xor(eax, eax);
        out(0xf4, al);
    );
    asm.assemble(layout::CODE).unwrap()
}

fn without_paging() -> Made {
    let mut parts = tables();
    parts.extend([
        (layout::ENTRY, begin()),
        (layout::CODE, code()),
        (layout::L1_IDT, gates()),
    ]);
    for vector in [INVALID_OPCODE, GENERAL_PROTECTION] {
        parts.push((stub(vector), handler(vector, stub(vector))));
    }
    Made::new(parts, "GNN")
}

#[test]
fn an_l1_without_paging_has_no_vmx() {
    check_made(without_paging);
}

/// Pages of 4 MiB, or PAE's of 2 MiB: VMXON, a look at a page that only paging shows, VMXOFF, and
/// paging off again. Each prints a letter as above; the look prints Y.
fn paging_code(pae: bool) -> Vec<u8> {
    let mut asm = CodeAssembler::new(32).unwrap();
    let mut main = asm.create_label();
    let mut vmxon = asm.create_label();
    let mut vmxoff = asm.create_label();
    let mut print = asm.create_label();
    let root = if pae { layout::PDPT } else { layout::PML4 } as u32;
    let features = CR4 | if pae { PAE } else { PSE };
    emit!(asm,
        jmp(main);
    );
    attempt(&mut asm, &mut vmxon, self::vmxon);
    attempt(&mut asm, &mut vmxoff, |asm| emit!(asm, vmxoff();));
    self::print(&mut asm, &mut print, &mut main);
    emit!(asm,
        mov(eax, features);
        mov(cr4, eax);
        mov(eax, root);
        mov(cr3, eax);
        mov(eax, CR0 | PG);
        mov(cr0, eax);
        call(vmxon);
        call(print);
        // The alias of the first page of the tables.
        mov(eax, dword_ptr(ALIAS + layout::GDT as u32 + 8));
        xor(eax, dword_ptr(layout::GDT as u32 + 8));
        add(eax, 24);
        call(print);
        mov(eax, root);
        mov(cr3, eax);
        call(vmxoff);
        call(print);
        mov(eax, CR0);
        mov(cr0, eax);
        mov(eax, cr0);
        and(eax, PG);
        call(print);
        xor(eax, eax);
        out(0xf4, al);
    );
    asm.assemble(layout::CODE).unwrap()
}

/// The tables of [`paging_code`]: the lowest memory as it is, and once more at [`ALIAS`].
fn pages(pae: bool) -> Vec<(u64, Vec<u8>)> {
    const LARGE_PAGE: u64 = 0xe3;
    if pae {
        let entries: Vec<u64> = (0..2 * ALIAS_PAGE)
            .map(|page| (page % ALIAS_PAGE) << 21 | LARGE_PAGE)
            .collect();
        return vec![
            (layout::PDPT, words(&[layout::PD | 1, 0, 0, 0])),
            (layout::PD, words(&entries)),
        ];
    }
    let entries = (0..2 * ALIAS_PAGE / 2).map(|page| (page % (ALIAS_PAGE / 2)) << 22 | LARGE_PAGE);
    let bytes = entries.flat_map(|entry| (entry as u32).to_le_bytes());
    vec![(layout::PML4, bytes.collect())]
}

fn with_paging(pae: bool) -> Made {
    let mut parts = tables();
    parts.extend([
        (layout::ENTRY, begin()),
        (layout::CODE, paging_code(pae)),
        (layout::L1_IDT, gates()),
    ]);
    parts.extend(pages(pae));
    for vector in [INVALID_OPCODE, GENERAL_PROTECTION] {
        parts.push((stub(vector), handler(vector, stub(vector))));
    }
    Made::new(parts, "ZYZA")
}

/// Whether this host's KVM runs guests with paging of 32 bits, VMX or not.
fn has_paging_of_32_bits() -> bool {
    let mut asm = CodeAssembler::new(32).unwrap();
    emit!(asm,
        mov(eax, PSE);
        mov(cr4, eax);
        mov(eax, layout::PML4 as u32);
        mov(cr3, eax);
        mov(eax, CR0 | PG);
        mov(cr0, eax);
        mov(al, 0x50);
        mov(edx, 0x3f8);
        out(dx, al);
        xor(eax, eax);
        out(0xf4, al);
    );
    let mut parts = tables();
    parts.extend([
        (layout::ENTRY, begin()),
        (layout::CODE, asm.assemble(layout::CODE).unwrap()),
    ]);
    parts.extend(pages(false));
    let made = Made::new(parts, "");
    run_with(&Guest::new().code(&made.image).elf(), &[]).output == "P"
}

#[test]
fn an_l1_of_32_bits_has_vmx_with_paging() {
    if has_kvm("nested_soft") && !has_paging_of_32_bits() {
        println!(
            "SKIPPED: an_l1_of_32_bits_has_vmx_with_paging: this host's KVM runs no guest with paging \
             outside IA-32e mode"
        );
        return;
    }
    check_made(|| with_paging(false));
    check_made(|| with_paging(true));
}

#[test]
fn an_unrestricted_l2_has_no_paging() {
    use Field::*;
    check(|| {
        let mut l1 = L1::in_vmx();
        put_identity(&mut l1);
        let program = l1.l2_of(32, |asm| {
            emit!(asm,
                mov(ebp, 0x1234_5678);
                vmcall();
                inc(ebp);
                mov(dword_ptr(layout::L2_DATA as u32), ebp);
                vmcall();
                out(0x80, al);
                ud2();
            );
        });
        let unrestricted = SecondaryControls::ENABLE_EPT | SecondaryControls::UNRESTRICTED_GUEST;
        let controls = Controls {
            entry: 0,
            ..Controls::secondary(unrestricted)
        };
        l1.new_vmcs(
            controls,
            &[
                (EptPointer, EPTP),
                (GuestCr0, CR0.into()),
                (GuestCr3, 0),
                (GuestCr4, CR4.into()),
                (GuestCsSelector, CODE_32.into()),
                (GuestCsArBytes, 0xc09b),
                (ExceptionBitmap, 1 << INVALID_OPCODE),
                (GuestRip, program),
            ],
        );
        l1.enter("first", ExitReason::VMCALL, &[(GuestRip, program + 5)]);
        l1.word("EBP", layout::L2_GPR + 5 * 8, 0x1234_5678);
        l1.write(&[(GuestRip, program + 8)]);
        let second = program + 8 + 1 + 6;
        l1.enter("second", ExitReason::VMCALL, &[(GuestRip, second)]);
        l1.word("EBP", layout::L2_DATA, 0x1234_5679);
        l1.write(&[(GuestRip, second + 3)]);
        let seen = [
            (GuestRip, second + 5),
            (VmExitIntrInfo, 0x8000_0306),
            (GuestRsp, layout::L2_STACK),
        ];
        l1.enter("third", ExitReason::EXCEPTION_OR_NMI, &seen);
        l1
    });
}

/// A real-mode L2, as firmware and boot loaders are: its code, its stack and its interrupt vectors in
/// the lowest 64 KiB.
#[test]
fn an_unrestricted_l2_in_real_mode_has_its_interrupts() {
    use Field::*;
    const AT: u64 = 0x8000;
    const HANDLER: u64 = 0x8100;
    const TOP: u64 = 0x7000;
    const NUMBER: u64 = 0x21;
    check(|| {
        let mut l1 = L1::in_vmx();
        put_identity(&mut l1);
        let mut asm = CodeAssembler::new(16).unwrap();
        emit!(asm,
            mov(ax, 0x1234);
            int(NUMBER as i32);
            mov(word_ptr(0x7100), ax);
            push(cs);
            pop(es);
            pushf();
            pop(bx);
            cpuid();
            mov(ax, 0x7000);
            mov(ds, ax);
            mov(word_ptr(0x10), bx);
            ud2();
        );
        let code = asm.assemble(AT).unwrap();
        let mut asm = CodeAssembler::new(16).unwrap();
        emit!(asm, inc(ax); iret(););
        let handler = asm.assemble(HANDLER).unwrap();
        for (start, code) in [(AT, &code), (HANDLER, &handler)] {
            for (at, word) in (start..).step_by(8).zip(code.chunks(8)) {
                let mut bytes = [0xf4; 8];
                bytes[..word.len()].copy_from_slice(word);
                l1.store(at, u64::from_le_bytes(bytes));
            }
        }
        // Two vectors a word.
        l1.store(4 * (NUMBER & !1), HANDLER << 32);
        l1.store(4 * 6, HANDLER);
        let unrestricted = SecondaryControls::ENABLE_EPT | SecondaryControls::UNRESTRICTED_GUEST;
        let controls = Controls {
            entry: 0,
            ..Controls::secondary(unrestricted)
        };
        let mut fields = vec![
            (EptPointer, EPTP),
            (GuestCr0, 0x30),
            (GuestCr3, 0),
            (GuestCr4, CR4.into()),
            (GuestIdtrBase, 0),
            (GuestIdtrLimit, 0x3ff),
            (GuestRsp, TOP),
            (GuestRip, AT),
            (ExceptionBitmap, 1 << INVALID_OPCODE),
        ];
        for (selector, limit, rights, value) in [
            (GuestCsSelector, GuestCsLimit, GuestCsArBytes, 0x9b),
            (GuestSsSelector, GuestSsLimit, GuestSsArBytes, 0x93),
            (GuestDsSelector, GuestDsLimit, GuestDsArBytes, 0x93),
            (GuestEsSelector, GuestEsLimit, GuestEsArBytes, 0x93),
            (GuestFsSelector, GuestFsLimit, GuestFsArBytes, 0x93),
            (GuestGsSelector, GuestGsLimit, GuestGsArBytes, 0x93),
        ] {
            fields.extend([(selector, 0), (limit, 0xffff), (rights, value)]);
        }
        l1.new_vmcs(controls, &fields);
        let length = code.len() as u64;
        let seen = [(GuestRip, AT + length - 2 - 4 - 5 - 2), (GuestRsp, TOP)];
        l1.enter("CPUID", ExitReason::CPUID, &seen);
        l1.value(
            "AX",
            0x1235,
            |asm| emit!(asm, movzx(eax, word_ptr(0x7100));),
        );
        l1.write(&[(GuestRip, AT + length - 2 - 4 - 5)]);
        let seen = [
            (GuestRip, AT + length - 2),
            (GuestDsSelector, 0x7000),
            (GuestDsBase, 0x7_0000),
            (VmExitIntrInfo, 0x8000_0306),
            (GuestRsp, TOP),
        ];
        l1.enter("UD2", ExitReason::EXCEPTION_OR_NMI, &seen);
        l1.value(
            "flags",
            2,
            |asm| emit!(asm, movzx(eax, word_ptr(0x7_0010));),
        );
        l1
    });
}
