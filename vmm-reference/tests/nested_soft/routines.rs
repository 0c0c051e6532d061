// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What each L1 has: the way to 64-bit mode, exception handlers, output, and the entry of L2.

use iced_x86::code_asm::*;
use nested_vmx::vmcs::Field;

use crate::l1::emit;
use crate::layout;
use crate::tables::{CODE_64, DATA, STUB, TASK};

const SERIAL: u32 = 0x3f8;
const DEBUG_EXIT: u32 = 0xf4;
/// The exceptions that push an error code.
const WITH_ERROR_CODE: u32 = 0x6022_7d00;

/// From 32-bit protected mode to [`layout::CODE`].
pub fn boot() -> Vec<u8> {
    let mut asm = CodeAssembler::new(32).unwrap();
    emit!(asm,
        cli();
        cld();
        lgdt(ptr(layout::GDTR as u32));
        mov(eax, layout::PML4 as u32);
        mov(cr3, eax);
        mov(eax, cr4);
        or(eax, 0x20);
        mov(cr4, eax);
        mov(ecx, 0xc000_0080_u32);
        rdmsr();
        or(eax, 0x100);
        wrmsr();
        mov(eax, 0x8000_0031_u32);
        mov(cr0, eax);
    );
    let mut far = vec![0xea];
    far.extend((layout::CODE as u32).to_le_bytes());
    far.extend(CODE_64.to_le_bytes());
    asm.db(&far).unwrap();
    asm.assemble(layout::ENTRY).unwrap()
}

/// The vectors' stubs: each puts what it finds on its stack to `frame`, behind its vector. L1 then
/// goes on where it said it would; L2 calls.
pub fn stubs(address: u64, frame: u64, is_l2: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let common = address + 32 * STUB;
    for vector in 0..32_u32 {
        let start = address + bytes.len() as u64;
        let mut asm = CodeAssembler::new(64).unwrap();
        if WITH_ERROR_CODE >> vector & 1 == 0 {
            asm.push(0).unwrap();
        }
        emit!(asm,
            push(vector as i32);
            jmp(common);
        );
        bytes.extend(asm.assemble(start).unwrap());
        bytes.resize(((vector + 1) as u64 * STUB) as usize, 0xcc);
    }
    let mut asm = CodeAssembler::new(64).unwrap();
    for word in 0..7 {
        asm.pop(qword_ptr(frame + 8 * word)).unwrap();
    }
    if is_l2 {
        asm.vmcall().unwrap();
    } else {
        // RSP is the sixth word.
        emit!(asm,
            mov(rsp, qword_ptr(frame + 8 * 5));
            jmp(qword_ptr(layout::RESUME));
        );
    }
    bytes.extend(asm.assemble(common).unwrap());
    bytes
}

/// Where L1's subroutines are.
#[derive(Clone, Copy)]
pub struct Routines {
    /// Prints the text at ESI.
    pub print: CodeLabel,
    /// Prints a blank and RAX.
    pub hex: CodeLabel,
    /// Ends the line.
    pub line: CodeLabel,
    /// Prints how an instruction ended, and ends the line.
    pub verdict: CodeLabel,
    /// Writes the VMCS fields of the list at RSI, RCX of them.
    pub write: CodeLabel,
    /// Writes the control RDI with EBX, and what the MSR ECX wants.
    pub control: CodeLabel,
    /// Enters L2, and prints why it came back.
    pub enter: CodeLabel,
    /// Where exits lead.
    pub landed: CodeLabel,
    /// Where exceptions lead that nobody waits for.
    pub lost: CodeLabel,
    /// The end.
    pub end: CodeLabel,
}

impl Routines {
    /// Emits them, and how L1 begins.
    pub fn emit(asm: &mut CodeAssembler) -> Self {
        let mut routines = Self {
            print: asm.create_label(),
            hex: asm.create_label(),
            line: asm.create_label(),
            verdict: asm.create_label(),
            write: asm.create_label(),
            control: asm.create_label(),
            enter: asm.create_label(),
            landed: asm.create_label(),
            lost: asm.create_label(),
            end: asm.create_label(),
        };
        let mut begin = asm.create_label();
        asm.jmp(begin).unwrap();
        routines.emit_output(asm);
        routines.emit_verdict(asm);
        routines.emit_vmcs(asm);
        routines.emit_enter(asm);
        asm.set_label(&mut begin).unwrap();
        emit_begin(asm);
        emit!(asm,
            lea(rax, ptr(routines.lost));
            mov(qword_ptr(layout::RESUME), rax);
        );
        routines
    }

    fn emit_output(&mut self, asm: &mut CodeAssembler) {
        let mut done = asm.create_label();
        let mut next = asm.create_label();
        let mut out_digit = asm.create_label();
        let mut decimal = asm.create_label();
        emit!(asm,
            set_label(&mut self.print);
            lodsb();
            test(al, al);
            je(done);
            mov(edx, SERIAL);
            out(dx, al);
            jmp(self.print);
            set_label(&mut done);
            ret();

            set_label(&mut self.line);
            mov(edx, SERIAL);
            mov(eax, 0x0a);
            out(dx, al);
            ret();

            set_label(&mut self.hex);
            mov(r8, rax);
            mov(edx, SERIAL);
            mov(eax, 0x20);
            out(dx, al);
            mov(ecx, 64);
            xor(r9d, r9d);
            // No leading zeros.
            set_label(&mut next);
            sub(ecx, 4);
            mov(rax, r8);
            shr(rax, cl);
            and(eax, 15);
            or(r9d, eax);
            test(ecx, ecx);
            je(out_digit);
            test(r9d, r9d);
            je(next);
            set_label(&mut out_digit);
            cmp(eax, 10);
            jb(decimal);
            add(eax, 39);
            set_label(&mut decimal);
            add(eax, 48);
            out(dx, al);
            test(ecx, ecx);
            jne(next);
            ret();
        );
    }

    /// Prints a text that is in the code.
    fn say(&self, asm: &mut CodeAssembler, text: &str) {
        let mut at = asm.create_label();
        let mut over = asm.create_label();
        let bytes = [text.as_bytes(), &[0]].concat();
        emit!(asm,
            lea(rsi, ptr(at));
            call(self.print);
            jmp(over);
            set_label(&mut at);
            db(&bytes);
            set_label(&mut over);
        );
    }

    fn emit_verdict(&mut self, asm: &mut CodeAssembler) {
        let mut no_fault = asm.create_label();
        let mut not_invalid = asm.create_label();
        let mut not_valid = asm.create_label();
        emit!(asm,
            set_label(&mut self.verdict);
            cmp(qword_ptr(layout::L1_VECTOR), -1);
            je(no_fault);
        );
        self.say(asm, " faults");
        emit!(asm,
            mov(rax, qword_ptr(layout::L1_VECTOR));
            call(self.hex);
            mov(rax, qword_ptr(layout::L1_ERROR));
            call(self.hex);
            jmp(self.line);
            set_label(&mut no_fault);
            // CF.
            test(dword_ptr(layout::FLAGS), 1);
            je(not_invalid);
        );
        self.say(asm, " VMfailInvalid");
        emit!(asm,
            jmp(self.line);
            set_label(&mut not_invalid);
            // ZF.
            test(dword_ptr(layout::FLAGS), 0x40);
            je(not_valid);
        );
        self.say_error(asm);
        emit!(asm,
            jmp(self.line);
            set_label(&mut not_valid);
        );
        self.say(asm, " succeeds");
        asm.jmp(self.line).unwrap();
    }

    fn say_error(&self, asm: &mut CodeAssembler) {
        self.say(asm, " VMfailValid");
        emit!(asm,
            mov(eax, Field::VmInstructionError.encoding().0);
            vmread(rax, rax);
            call(self.hex);
        );
    }

    fn emit_vmcs(&mut self, asm: &mut CodeAssembler) {
        let mut refused = asm.create_label();
        emit!(asm,
            set_label(&mut self.write);
            lodsq();
            mov(rdi, rax);
            lodsq();
            vmwrite(rdi, rax);
            jbe(refused);
            dec(ecx);
            jne(self.write);
            ret();
            set_label(&mut refused);
        );
        self.say(asm, "VMWRITE fails:");
        emit!(asm,
            mov(rax, rdi);
            call(self.hex);
            call(self.line);
            jmp(self.end);

            set_label(&mut self.control);
            rdmsr();
            or(eax, ebx);
            and(eax, edx);
            vmwrite(rdi, rax);
            ret();
        );
    }

    fn emit_enter(&mut self, asm: &mut CodeAssembler) {
        let mut resume = asm.create_label();
        let mut failed = asm.create_label();
        let mut valid = asm.create_label();
        emit!(asm,
            set_label(&mut self.enter);
            mov(eax, Field::HostRsp.encoding().0);
            vmwrite(rax, rsp);
            cmp(qword_ptr(layout::LAUNCHED), 0);
        );
        // RSP is the VMCS's.
        for (number, register) in GPR {
            asm.mov(register, qword_ptr(layout::L2_GPR + 8 * number))
                .unwrap();
        }
        emit!(asm,
            jne(resume);
            vmlaunch();
            jmp(failed);
            set_label(&mut resume);
            vmresume();
            set_label(&mut failed);
            je(valid);
        );
        self.say(asm, " VMfailInvalid");
        emit!(asm,
            ret();
            set_label(&mut valid);
        );
        self.say_error(asm);
        emit!(asm,
            ret();
            set_label(&mut self.landed);
        );
        for (number, register) in GPR {
            asm.mov(qword_ptr(layout::L2_GPR + 8 * number), register)
                .unwrap();
        }
        let mut entered = asm.create_label();
        emit!(asm,
            mov(eax, Field::VmExitReason.encoding().0);
            vmread(rbx, rax);
            test(ebx, ebx);
            // A failed entry leaves the VMCS as it was.
            js(entered);
            mov(qword_ptr(layout::LAUNCHED), 1);
            set_label(&mut entered);
        );
        self.say(asm, " exit");
        emit!(asm,
            mov(rax, rbx);
            jmp(self.hex);
            set_label(&mut self.lost);
        );
        self.say(asm, "L1 has an exception:");
        for word in [layout::L1_VECTOR, layout::L1_ERROR, layout::L1_RIP] {
            emit!(asm,
                mov(rax, qword_ptr(word));
                call(self.hex);
            );
        }
        emit!(asm,
            call(self.line);
            set_label(&mut self.end);
            xor(eax, eax);
            out(DEBUG_EXIT as i32, al);
            hlt();
        );
    }
}

/// All but RSP.
const GPR: [(u64, AsmRegister64); 15] = [
    (0, rax),
    (1, rcx),
    (2, rdx),
    (3, rbx),
    (5, rbp),
    (6, rsi),
    (7, rdi),
    (8, r8),
    (9, r9),
    (10, r10),
    (11, r11),
    (12, r12),
    (13, r13),
    (14, r14),
    (15, r15),
];

/// Segments, handlers; the PICs masked; revisions in the regions.
fn emit_begin(asm: &mut CodeAssembler) {
    let mut begin = asm.create_label();
    emit!(asm,
        mov(eax, u32::from(DATA));
        mov(ds, eax);
        mov(es, eax);
        mov(fs, eax);
        mov(gs, eax);
        mov(ss, eax);
        mov(esp, layout::L1_STACK as u32);
        mov(eax, u32::from(TASK));
        ltr(ax);
        lidt(ptr(layout::L1_IDTR));
        mov(eax, 0xff);
        out(0x21, al);
        out(0xa1, al);
        // Without VMX there are no such MSRs.
        lea(rax, ptr(begin));
        mov(qword_ptr(layout::RESUME), rax);
        mov(ecx, 0x480);
        rdmsr();
        and(eax, 0x7fff_ffff);
    );
    for region in [layout::VMXON_REGION, layout::VMCS, layout::OTHER_VMCS] {
        asm.mov(dword_ptr(region), eax).unwrap();
    }
    // IA32_FEATURE_CONTROL: locked, VMX outside SMX.
    emit!(asm,
        mov(ecx, 0x3a);
        rdmsr();
        test(eax, 1);
        jne(begin);
        mov(eax, 5);
        xor(edx, edx);
        wrmsr();
        set_label(&mut begin);
        nop();
    );
}
