// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! An L1, put together from what it does and what it ought to see. It prints what it sees, a line
//! each, and is right if the lines are the expected ones.

use iced_x86::code_asm::*;
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::instruction_error::InstructionError;
use nested_vmx::vmcs::Field;

use crate::layout;
use crate::routines::{Routines, boot, stubs};
use crate::tables::{tables, words};
use crate::vmcs12;

/// What an instruction of L1's does.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    Succeeds,
    FailsInvalid,
    FailsValid(InstructionError),
    /// An exception with this vector and error code, at the instruction.
    Faults(u64, u64),
}

/// The controls that L2 is entered with, beside those that have to be 1.
#[derive(Clone, Copy, Debug)]
pub struct Controls {
    pub pin: u32,
    pub primary: u32,
    pub secondary: u32,
    pub exit: u32,
    pub entry: u32,
}

impl Controls {
    /// 64-bit mode in L1 and in L2.
    pub const LONG: Self = Self {
        pin: 0,
        primary: 0,
        secondary: 0,
        exit: 1 << 9,
        entry: 1 << 9,
    };

    pub fn primary(controls: nested_vmx::controls::PrimaryControls) -> Self {
        Self {
            primary: controls.bits(),
            ..Self::LONG
        }
    }

    /// With EPT.
    pub fn ept() -> Self {
        Self::secondary(nested_vmx::controls::SecondaryControls::ENABLE_EPT)
    }

    pub fn secondary(controls: nested_vmx::controls::SecondaryControls) -> Self {
        Self {
            primary: 1 << 31,
            secondary: controls.bits(),
            ..Self::LONG
        }
    }
}

/// An L1.
pub struct L1 {
    pub asm: CodeAssembler,
    routines: Routines,
    texts: Vec<u8>,
    fields: Vec<u64>,
    l2: Vec<u8>,
    memory: Vec<(u64, Vec<u8>)>,
    expected: String,
    shuts_down: bool,
}

/// What a test runs, and what comes of it.
pub struct Made {
    /// From [`layout::ENTRY`] on.
    pub image: Vec<u8>,
    /// What it prints.
    pub expected: String,
    /// Whether the machine is shut down instead of ended.
    pub shuts_down: bool,
}

impl Made {
    /// An image of these parts, which prints this and ends.
    pub fn new(parts: Vec<(u64, Vec<u8>)>, expected: &str) -> Self {
        let mut image = vec![0; (layout::IMAGE_END - layout::ENTRY) as usize];
        for (address, bytes) in parts {
            let start = (address - layout::ENTRY) as usize;
            image[start..start + bytes.len()].copy_from_slice(&bytes);
        }
        Self {
            image,
            expected: expected.to_owned(),
            shuts_down: false,
        }
    }
}

/// Assembles into an L1; what iced-x86 refuses is a mistake of the test.
macro_rules! emit {
    ($asm:expr, $($name:ident($($operand:expr),*);)*) => {{
        $( $asm.$name($($operand),*).unwrap(); )*
    }};
}
pub(crate) use emit;

impl L1 {
    /// In 64-bit mode, CR4.VMXE still 0, its VMXON region and VMCSs with the revision.
    pub fn new() -> Self {
        let mut asm = CodeAssembler::new(64).unwrap();
        let routines = Routines::emit(&mut asm);
        Self {
            asm,
            routines,
            texts: Vec::new(),
            fields: Vec::new(),
            l2: Vec::new(),
            memory: tables(),
            expected: String::new(),
            shuts_down: false,
        }
    }

    /// In VMX operation.
    pub fn in_vmx() -> Self {
        let mut l1 = Self::new();
        l1.enable_vmx();
        l1.operand(layout::VMXON_REGION);
        l1.attempt("vmxon", Verdict::Succeeds, |asm| {
            emit!(asm, vmxon(qword_ptr(layout::OPERAND)););
        });
        l1
    }

    /// Sets CR4.VMXE.
    pub fn enable_vmx(&mut self) {
        emit!(self.asm,
            mov(rax, cr4);
            or(eax, 0x2000);
            mov(cr4, rax);
        );
    }

    /// Puts bytes into L1's memory before it begins.
    pub fn put(&mut self, address: u64, bytes: Vec<u8>) {
        self.memory.push((address, bytes));
    }

    /// Writes a word when L1 runs.
    pub fn store(&mut self, address: u64, value: u64) {
        emit!(self.asm,
            mov(rax, value);
            mov(qword_ptr(address), rax);
        );
    }

    /// Code that L1 does not run into: functions, say.
    pub fn out_of_line(&mut self, code: impl FnOnce(&mut CodeAssembler)) {
        let mut behind = self.asm.create_label();
        self.asm.jmp(behind).unwrap();
        code(&mut self.asm);
        self.asm.set_label(&mut behind).unwrap();
    }

    /// The pointer that the next VMX instruction takes.
    pub fn operand(&mut self, value: u64) {
        self.store(layout::OPERAND, value);
    }

    /// Prints a text, which is not among what is expected.
    pub fn say(&mut self, text: &str) {
        let at = layout::TEXTS + self.texts.len() as u64;
        self.texts.extend(text.as_bytes());
        self.texts.push(0);
        emit!(self.asm,
            mov(esi, at as u32);
            call(self.routines.print);
        );
    }

    /// Does something that may fail, and tells how it ended.
    pub fn attempt(
        &mut self,
        name: &str,
        verdict: Verdict,
        instruction: impl FnOnce(&mut CodeAssembler),
    ) {
        let mut after = self.asm.create_label();
        emit!(self.asm,
            mov(qword_ptr(layout::L1_VECTOR), -1);
            lea(rax, ptr(after));
            mov(qword_ptr(layout::RESUME), rax);
        );
        instruction(&mut self.asm);
        emit!(self.asm,
            pushfq();
            pop(rax);
            mov(qword_ptr(layout::FLAGS), rax);
            set_label(&mut after);
            lea(rax, ptr(self.routines.lost));
            mov(qword_ptr(layout::RESUME), rax);
        );
        self.say(name);
        emit!(self.asm, call(self.routines.verdict););
        let ended = match verdict {
            Verdict::Succeeds => " succeeds".to_owned(),
            Verdict::FailsInvalid => " VMfailInvalid".to_owned(),
            Verdict::FailsValid(error) => format!(" VMfailValid {:x}", error.number()),
            Verdict::Faults(vector, error) => format!(" faults {vector:x} {error:x}"),
        };
        self.expected += &format!("{name}{ended}\n");
    }

    /// Tells what is in memory.
    pub fn word(&mut self, name: &str, address: u64, expected: u64) {
        self.value(name, expected, |asm| {
            emit!(asm,
                mov(rax, address);
                mov(rax, qword_ptr(rax));
            );
        });
    }

    /// Tells what is in RAX.
    pub fn value(&mut self, name: &str, expected: u64, into_rax: impl FnOnce(&mut CodeAssembler)) {
        self.say(name);
        into_rax(&mut self.asm);
        emit!(self.asm,
            call(self.routines.hex);
            call(self.routines.line);
        );
        self.expected += &format!("{name} {expected:x}\n");
    }

    /// Code of L2's: its address.
    pub fn l2(&mut self, code: impl FnOnce(&mut CodeAssembler)) -> u64 {
        self.l2_of(64, code)
    }

    /// Code of L2's of 32 or 64 bits: its address.
    pub fn l2_of(&mut self, bitness: u32, code: impl FnOnce(&mut CodeAssembler)) -> u64 {
        let address = layout::L2_CODE + self.l2.len() as u64;
        let mut asm = CodeAssembler::new(bitness).unwrap();
        code(&mut asm);
        self.l2.extend(asm.assemble(address).unwrap());
        self.l2.resize(self.l2.len().next_multiple_of(64), 0xcc);
        address
    }

    /// A fresh VMCS, not launched, with these fields unlike [`vmcs12::fields`].
    pub fn new_vmcs(&mut self, controls: Controls, fields: &[(Field, u64)]) {
        self.operand(layout::VMCS);
        self.attempt("vmclear", Verdict::Succeeds, |asm| {
            emit!(asm, vmclear(qword_ptr(layout::OPERAND)););
        });
        self.attempt("vmptrld", Verdict::Succeeds, |asm| {
            emit!(asm, vmptrld(qword_ptr(layout::OPERAND)););
        });
        self.store(layout::LAUNCHED, 0);
        self.write(&zeroed());
        self.write(&vmcs12::fields());
        for (field, msr, wanted) in [
            (Field::PinBasedVmExecControl, 0x48d_u32, controls.pin),
            (Field::CpuBasedVmExecControl, 0x48e, controls.primary),
            (Field::VmExitControls, 0x48f, controls.exit),
            (Field::VmEntryControls, 0x490, controls.entry),
            (Field::SecondaryVmExecControl, 0x48b, controls.secondary),
        ] {
            emit!(self.asm,
                mov(edi, field.encoding().0);
                mov(ebx, wanted);
                mov(ecx, msr);
                call(self.routines.control);
            );
        }
        emit!(self.asm,
            lea(rax, ptr(self.routines.landed));
            mov(edi, Field::HostRip.encoding().0);
            vmwrite(rdi, rax);
        );
        self.write(fields);
    }

    /// VMWRITE of each.
    pub fn write(&mut self, fields: &[(Field, u64)]) {
        if fields.is_empty() {
            return;
        }
        let at = layout::FIELDS + 8 * self.fields.len() as u64;
        for (field, value) in fields {
            self.fields.extend([field.encoding().0.into(), *value]);
        }
        emit!(self.asm,
            mov(esi, at as u32);
            mov(ecx, fields.len() as u32);
            call(self.routines.write);
        );
    }

    /// INVEPT of everything.
    pub fn invept(&mut self) {
        self.store(layout::OPERAND, 0);
        self.store(layout::OPERAND + 8, 0);
        self.attempt("invept", Verdict::Succeeds, |asm| {
            emit!(asm,
                mov(eax, 2);
                invept(rax, xmmword_ptr(layout::OPERAND));
            );
        });
    }

    /// Enters L2 by VMLAUNCH, or VMRESUME if it was entered before. L2 exits for this reason, and
    /// the fields are these.
    pub fn enter(&mut self, name: &str, reason: ExitReason, fields: &[(Field, u64)]) {
        self.say(name);
        emit!(self.asm, call(self.routines.enter););
        self.expected += &format!("{name} exit {:x}", reason.0);
        for (field, value) in fields {
            self.say(&format!(" {field:?}"));
            emit!(self.asm,
                mov(eax, field.encoding().0);
                vmread(rax, rax);
                call(self.routines.hex);
            );
            self.expected += &format!(" {field:?} {value:x}");
        }
        emit!(self.asm, call(self.routines.line););
        self.expected += "\n";
    }

    /// Enters L2, in vain.
    pub fn enter_fails(&mut self, name: &str, error: InstructionError) {
        self.say(name);
        emit!(self.asm,
            call(self.routines.enter);
            call(self.routines.line);
        );
        self.expected += &format!("{name} VMfailValid {:x}\n", error.number());
    }

    /// Enters L2, and the exit shuts the machine down.
    pub fn enter_shuts_down(&mut self, name: &str) {
        self.say(name);
        emit!(self.asm, call(self.routines.enter););
        self.expected += name;
        self.shuts_down = true;
    }

    /// What L2 prints itself.
    pub fn expect(&mut self, text: &str) {
        self.expected += text;
    }

    /// The end.
    pub fn finish(mut self) -> Made {
        self.say("end\n");
        if !self.shuts_down {
            self.expected += "end\n";
        }
        emit!(self.asm, jmp(self.routines.end););
        let code = self.asm.assemble(layout::CODE).unwrap();
        let parts = vec![
            (layout::ENTRY, boot()),
            (
                layout::L1_STUBS,
                stubs(layout::L1_STUBS, layout::L1_VECTOR, false),
            ),
            (
                layout::L2_STUBS,
                stubs(layout::L2_STUBS, layout::L2_FRAME, true),
            ),
            (layout::CODE, code),
            (layout::TEXTS, self.texts),
            (layout::FIELDS, words(&self.fields)),
            (layout::L2_CODE, self.l2),
        ];
        let mut ends = 0;
        for (address, bytes) in &parts {
            assert!(*address >= ends, "{address:#x} overlaps what is before");
            ends = address + bytes.len() as u64;
        }
        assert!(ends <= layout::PML4, "L2's code is too long");
        Made {
            shuts_down: self.shuts_down,
            ..Made::new([parts, self.memory].concat(), &self.expected)
        }
    }
}

/// The fields that are 0 unless they are set: VMCLEAR says nothing of their values.
fn zeroed() -> Vec<(Field, u64)> {
    use Field::*;
    use nested_vmx::vmcs::Kind;
    let mut fields: Vec<_> = Field::ALL
        .iter()
        .copied()
        .filter(|field| matches!(field.kind(), Kind::Guest | Kind::Host))
        .filter(|field| {
            let name = format!("{field:?}");
            name.ends_with("Base")
                || name.ends_with("Selector")
                || name.ends_with("Limit")
                || name.contains("Sysenter")
        })
        .map(|field| (field, 0))
        .collect();
    fields.extend(
        [
            GuestIa32Debugctl,
            GuestInterruptibilityInfo,
            GuestActivityState,
            GuestPendingDbgExceptions,
            ExceptionBitmap,
            PageFaultErrorCodeMask,
            PageFaultErrorCodeMatch,
            Cr3TargetCount,
            Cr0GuestHostMask,
            Cr4GuestHostMask,
            Cr0ReadShadow,
            Cr4ReadShadow,
            TscOffset,
            VmExitMsrStoreCount,
            VmExitMsrLoadCount,
            VmEntryMsrLoadCount,
            VmEntryIntrInfoField,
        ]
        .map(|field| (field, 0)),
    );
    fields
}
