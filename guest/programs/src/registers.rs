// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The vCPU's registers.

use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment, kvm_sregs};

use crate::layout;
use crate::mode::Mode;
use crate::program::{PORT, Program};
use crate::tables;

const CR0_PE: u64 = 1 << 0;
const CR0_ET: u64 = 1 << 4;
const CR0_NE: u64 = 1 << 5;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// Always set.
const RFLAGS_FIXED: u64 = 1 << 1;
const RFLAGS_IF: u64 = 1 << 9;

/// The general registers with which `program` begins.
pub(crate) fn general(program: Program) -> kvm_regs {
    kvm_regs {
        rip: program.entry(),
        rsp: layout::STACK_TOP,
        rdx: PORT.into(),
        rflags: RFLAGS_FIXED | if program.interrupts() { RFLAGS_IF } else { 0 },
        ..Default::default()
    }
}

/// Puts `mode` into the special registers; what is left as it was is the APIC's base.
pub(crate) fn special(mode: Mode, sregs: &mut kvm_sregs) {
    let (cr0, cr4, efer) = match mode {
        Mode::Real => (0, 0, 0),
        Mode::Protected => (CR0_PE, 0, 0),
        Mode::Long => (CR0_PE | CR0_PG, CR4_PAE, EFER_LME | EFER_LMA),
    };
    let data = data(mode);
    *sregs = kvm_sregs {
        cs: code(mode),
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        tr: task(mode),
        ldt: no_local_table(),
        gdt: descriptor_table(mode),
        idt: interrupt_table(mode),
        cr0: cr0 | CR0_ET | CR0_NE,
        cr3: if mode == Mode::Long { layout::PML4 } else { 0 },
        cr4,
        efer,
        apic_base: sregs.apic_base,
        ..Default::default()
    };
}

/// A present flat segment: of 64 KiB in real mode, else of 4 GiB.
fn flat(mode: Mode, selector: u16, type_: u8) -> kvm_segment {
    let real = mode == Mode::Real;
    kvm_segment {
        base: 0,
        limit: if real { 0xffff } else { u32::MAX },
        selector: if real { 0 } else { selector },
        type_,
        present: 1,
        s: 1,
        db: u8::from(!real),
        g: u8::from(!real),
        ..Default::default()
    }
}

fn data(mode: Mode) -> kvm_segment {
    // Writable, accessed.
    flat(mode, tables::DATA, 3)
}

fn code(mode: Mode) -> kvm_segment {
    let long = mode == Mode::Long;
    let flat = flat(mode, tables::CODE, 0xb);
    kvm_segment {
        l: u8::from(long),
        db: if long { 0 } else { flat.db },
        ..flat
    }
}

/// A busy task state segment. Entry to the guest wants one in real mode, too.
fn task(mode: Mode) -> kvm_segment {
    kvm_segment {
        base: layout::TSS,
        limit: tables::TSS_LIMIT.into(),
        selector: if mode == Mode::Real { 0 } else { tables::TASK },
        type_: 0xb,
        present: 1,
        ..Default::default()
    }
}

fn no_local_table() -> kvm_segment {
    kvm_segment {
        type_: 2,
        unusable: 1,
        ..Default::default()
    }
}

fn descriptor_table(mode: Mode) -> kvm_dtable {
    // The task state segment's descriptor is the last and has 16 bytes in long mode.
    let limit = match mode {
        Mode::Real => return kvm_dtable::default(),
        Mode::Protected => tables::TASK + 7,
        Mode::Long => tables::TASK + 15,
    };
    kvm_dtable {
        base: layout::GDT,
        limit,
        ..Default::default()
    }
}

fn interrupt_table(mode: Mode) -> kvm_dtable {
    let (base, limit) = match mode {
        Mode::Real => (layout::IVT, 0x3ff),
        Mode::Protected => (layout::IDT, 256 * 8 - 1),
        Mode::Long => (layout::IDT, 256 * 16 - 1),
    };
    kvm_dtable {
        base,
        limit,
        ..Default::default()
    }
}
