// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest's instructions, assembled with this crate into a section where the host never executes
//! them. They are made for the address [`layout::CODE`].

use std::arch::global_asm;
use std::slice;

use crate::layout;
use crate::record;
use crate::rom as rom_layout;
use crate::scenario::{Program, TIMER_TICKS, VECTOR};

/// The exceptions that push an error code (SDM volume 3, table 6-1).
pub(crate) const ERROR_CODES: u32 = 0x6022_7d00;

global_asm!(
    ".pushsection .rodata.guest_l1, \"a\", @progbits",
    ".balign 32",
    ".globl guest_l1_start",
    ".hidden guest_l1_start",
    "guest_l1_start:",
    include_str!("asm/boot.s"),
    include_str!("asm/print.s"),
    include_str!("asm/interrupts.s"),
    include_str!("asm/scenarios.s"),
    include_str!("asm/storm.s"),
    include_str!("asm/bench.s"),
    include_str!("asm/l2.s"),
    ".globl guest_l1_end",
    ".hidden guest_l1_end",
    "guest_l1_end:",
    include_str!("asm/rom.s"),
    ".popsection",
    CODE = const layout::CODE,
    PML4 = const layout::PML4,
    GDTR = const layout::GDTR,
    L1_IDTR = const layout::L1_IDTR,
    MODE = const layout::MODE,
    HAS_APIC = const layout::HAS_APIC,
    BARE = const layout::BARE,
    FIELDS = const layout::FIELDS,
    SCENARIOS = const layout::SCENARIOS,
    BSS = const layout::BSS,
    BSS_END = const layout::BSS_END,
    VMXON_REGION = const layout::VMXON_REGION,
    VMCS = const layout::VMCS,
    L1_STACK = const layout::L1_STACK,
    L1_COUNTS = const layout::L1_COUNTS,
    L2_COUNTS = const layout::L2_COUNTS,
    VMXON_POINTER = const layout::VMXON_POINTER,
    VMCS_POINTER = const layout::VMCS_POINTER,
    LAUNCHED = const layout::LAUNCHED,
    EXITS = const layout::EXITS,
    SAVED_RSP = const layout::SAVED_RSP,
    SAVED_RBX = const layout::SAVED_RBX,
    NMI_STAYS = const layout::NMI_STAYS,
    LINE_END = const layout::LINE_END,
    L2_PROGRESS = const layout::L2_PROGRESS,
    LINE = const layout::LINE,
    SHARED_STOP = const layout::SHARED_STOP,
    SHARED_ITERATIONS = const layout::SHARED_ITERATIONS,
    SHARED_EXITS = const layout::SHARED_EXITS,
    SHARED_INTERRUPTS = const layout::SHARED_INTERRUPTS,
    SHARED_NMIS = const layout::SHARED_NMIS,
    SHARED_INTERRUPT_EXIT = const layout::SHARED_INTERRUPT_EXIT,
    SHARED_NMI_EXIT = const layout::SHARED_NMI_EXIT,
    SHARED_INJECTED = const layout::SHARED_INJECTED,
    SHARED_STATE = const layout::SHARED_STATE,
    APIC = const layout::APIC,
    VECTOR = const VECTOR,
    FIRST_VECTOR = const crate::storm::FIRST_VECTOR,
    STORM_PROGRAM = const Program::Count as u64,
    SPIN_PROGRAM = const Program::Spin as u64,
    WORK = const crate::bench::WORK,
    PROGRAM = const layout::PROGRAM,
    TIMER_TICKS = const TIMER_TICKS,
    ERROR_CODES = const ERROR_CODES,
    R_NAME = const record::NAME,
    R_PIN = const record::PIN,
    R_PRIMARY = const record::PRIMARY,
    R_SECONDARY = const record::SECONDARY,
    R_EXIT = const record::EXIT,
    R_ENTRY = const record::ENTRY,
    R_FIELDS = const record::FIELDS,
    R_EVENT = const record::EVENT,
    R_FLAGS = const record::FLAGS,
    R_MOST_EXITS = const record::MOST_EXITS,
    R_MISC = const record::MISC,
    R_SIZE = const record::SIZE,
    ROM_STUB = const rom_layout::STUB,
    ROM_IMAGE = const rom_layout::ADDRESS,
    IMAGE_SIZE = const layout::IMAGE.end - layout::IMAGE.start,
);

// SAFETY: the assembler text above defines each of these symbols, at bytes that nothing writes.
unsafe extern "C" {
    static guest_l1_start: u8;
    static guest_l1_end: u8;
    static guest_l1_exit: u8;
    static guest_l1_stubs: u8;
    static guest_l1_l2_stubs: u8;
    static guest_l1_programs: u8;
    static guest_l1_rom: u8;
    static guest_l1_rom_end: u8;
}

/// The address in the guest of what one of the symbols names.
fn address(symbol: *const u8) -> u64 {
    layout::CODE + (symbol.addr() - (&raw const guest_l1_start).addr()) as u64
}

/// Where exits of L2 lead.
pub(crate) fn exit() -> u64 {
    address(&raw const guest_l1_exit)
}

/// The handlers of L1's vectors, [`layout::STUB`] bytes each.
pub(crate) fn l1_stubs() -> u64 {
    address(&raw const guest_l1_stubs)
}

/// The handlers of L2's vectors, [`layout::STUB`] bytes each.
pub(crate) fn l2_stubs() -> u64 {
    address(&raw const guest_l1_l2_stubs)
}

/// Where an L2 program begins.
pub(crate) fn program(program: Program) -> u64 {
    address(&raw const guest_l1_programs) + layout::PROGRAM * program as u64
}

/// The bytes from one symbol to another.
///
/// # Safety
///
/// The text above defines both, the second one behind the first.
unsafe fn between(start: *const u8, end: *const u8) -> &'static [u8] {
    // SAFETY: both are in one read-only section of this program, in this order (the caller's word).
    unsafe { slice::from_raw_parts(start, end.addr() - start.addr()) }
}

/// The instructions, to be loaded at [`layout::CODE`].
pub(crate) fn code() -> &'static [u8] {
    // SAFETY: the text above ends with the second one.
    unsafe { between(&raw const guest_l1_start, &raw const guest_l1_end) }
}

/// The instructions for the ROM, at [`rom_layout::STUB`].
pub(crate) fn rom_stub() -> &'static [u8] {
    // SAFETY: `rom.s` begins and ends with these.
    unsafe { between(&raw const guest_l1_rom, &raw const guest_l1_rom_end) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_ends_before_the_tables() {
        assert!(layout::CODE + code().len() as u64 <= layout::PML4);
    }

    #[test]
    fn the_programs_are_where_their_numbers_say() {
        // VMCALL; NOP; STI; HLT; XOR EAX, EAX; INT 0x60; INC; three times MOV EDX, the local APIC; INC.
        let begins: [&[u8]; 11] = [
            &[0x0f, 0x01, 0xc1],
            &[0x90],
            &[0xfb],
            &[0xf4],
            &[0x31, 0xc0],
            &[0xcd, 0x60],
            &[0x48, 0xff],
            &[0xba, 0x00, 0x00, 0xe0, 0xfe],
            &[0xba, 0x00, 0x00, 0xe0, 0xfe],
            &[0xba, 0x00, 0x00, 0xe0, 0xfe],
            &[0x48, 0xff],
        ];
        for (kind, begin) in Program::ALL.into_iter().zip(begins) {
            let at = (program(kind) - layout::CODE) as usize;
            assert!(code()[at..].starts_with(begin), "{kind:?}");
        }
    }

    #[test]
    fn a_handler_of_l2s_has_its_stub() {
        for vector in 0..256 {
            let at = (l2_stubs() - layout::CODE + vector * layout::STUB) as usize;
            // INC of the 64-bit word at the counter's address.
            let counter = (layout::L2_COUNTS + 8 * vector) as u32;
            let inc = [&[0x48, 0xff, 0x04, 0x25][..], &counter.to_le_bytes()].concat();
            assert!(code()[at..].starts_with(&inc), "{vector}");
        }
    }
}
