// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest's instructions, assembled with this crate for each mode into a section of its own, where
//! the host never executes them. They are made for the address [`layout::CODE`].

use std::arch::global_asm;
use std::slice;

use crate::layout;
use crate::mode::Mode;

/// Assembles the stubs, the sled and the programs. The source is the same for each mode, but for the
/// width of the stack's words.
macro_rules! assemble {
    ($mode:expr, $start:ident, $end:ident, $code:literal, $counter:literal, $drop:literal, $iret:literal) => {
        global_asm!(
            ".pushsection .rodata.guest_programs, \"a\", @progbits",
            ".balign 32",
            concat!(".globl ", stringify!($start)),
            concat!(".hidden ", stringify!($start)),
            concat!(".globl ", stringify!($end)),
            concat!(".hidden ", stringify!($end)),
            concat!(stringify!($start), ":"),
            $code,
            // The stubs.
            ".set guest_programs_vector, 0",
            ".rept 256",
            ".rept 8",
            "nop",
            ".endr",
            ".set guest_programs_counter, {counters} + 4 * guest_programs_vector",
            "inc dword ptr [guest_programs_counter]",
            ".if guest_programs_vector < 32",
            ".if ({error_codes} >> guest_programs_vector) & 1",
            $drop,
            ".endif",
            ".endif",
            $iret,
            ".balign {stub}, 0xf4",
            ".set guest_programs_vector, guest_programs_vector + 1",
            ".endr",
            // The sled.
            ".rept {sled_nops}",
            "nop",
            ".endr",
            concat!("2: inc ", $counter),
            "jmp 2b",
            // The programs, in the order of `Program`.
            concat!(".org ", stringify!($start), " + {programs}, 0xf4"),
            "2: jmp 2b",
            ".balign {program}, 0xf4",
            ".rept 2",
            "2: inc dword ptr [{progress}]",
            "inc ebx",
            "jmp 2b",
            ".balign {program}, 0xf4",
            ".endr",
            "2: hlt",
            "inc dword ptr [{progress}]",
            "jmp 2b",
            ".balign {program}, 0xf4",
            "2: out dx, al",
            "inc dword ptr [{progress}]",
            "jmp 2b",
            ".balign {program}, 0xf4",
            concat!(stringify!($end), ":"),
            // What is assembled next is the host's.
            ".code64",
            ".popsection",
            counters = const layout::COUNTERS,
            error_codes = const $mode.error_codes(),
            stub = const layout::STUB,
            sled_nops = const layout::SLED_NOPS,
            programs = const layout::PROGRAMS - layout::CODE,
            program = const layout::PROGRAM,
            progress = const layout::PROGRESS,
        );
    };
}

assemble!(
    Mode::Real,
    guest_programs_real,
    guest_programs_real_end,
    ".code16",
    "ecx",
    "",
    "iret"
);
assemble!(
    Mode::Protected,
    guest_programs_protected,
    guest_programs_protected_end,
    ".code32",
    "ecx",
    "add esp, 4",
    "iretd"
);
assemble!(
    Mode::Long,
    guest_programs_long,
    guest_programs_long_end,
    ".code64",
    "rcx",
    "add rsp, 8",
    "iretq"
);

// SAFETY: the assembler text above defines each of these symbols, at bytes that nothing writes.
unsafe extern "C" {
    static guest_programs_real: u8;
    static guest_programs_real_end: u8;
    static guest_programs_protected: u8;
    static guest_programs_protected_end: u8;
    static guest_programs_long: u8;
    static guest_programs_long_end: u8;
}

/// The instructions for `mode`, to be loaded at [`layout::CODE`].
pub(crate) fn code(mode: Mode) -> &'static [u8] {
    let (start, end) = match mode {
        Mode::Real => (
            &raw const guest_programs_real,
            &raw const guest_programs_real_end,
        ),
        Mode::Protected => (
            &raw const guest_programs_protected,
            &raw const guest_programs_protected_end,
        ),
        Mode::Long => (
            &raw const guest_programs_long,
            &raw const guest_programs_long_end,
        ),
    };
    let len = end.addr() - start.addr();
    // SAFETY: the two symbols enclose one mode's instructions in a read-only section of this program,
    // with the end behind the start.
    unsafe { slice::from_raw_parts(start, len) }
}

/// Lengths of the instructions whose lengths differ between the modes, in bytes.
pub(crate) struct Lengths {
    /// The stub's increment of its counter.
    pub(crate) count: u64,
    /// The stub's addition to the stack pointer, where there is one.
    pub(crate) drop: u64,
    /// The sled's increment.
    pub(crate) sled: u64,
}

/// The lengths of what [`code`] returns for `mode`.
pub(crate) const fn lengths(mode: Mode) -> Lengths {
    let (count, drop, sled) = match mode {
        Mode::Real => (5, 0, 2),
        Mode::Protected => (6, 3, 1),
        Mode::Long => (7, 4, 3),
    };
    Lengths { count, drop, sled }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Program;

    const NOP: u8 = 0x90;
    const FILL: u8 = 0xf4;

    /// The bytes from `address` up.
    fn at(mode: Mode, address: u64) -> &'static [u8] {
        &code(mode)[(address - layout::CODE) as usize..]
    }

    /// INC of the 32-bit word at `address`.
    fn inc(mode: Mode, address: u64) -> Vec<u8> {
        let long = (address as u32).to_le_bytes();
        match mode {
            Mode::Real => [&[0x66, 0xff, 0x06], &long[..2]].concat(),
            Mode::Protected => [&[0xff, 0x05], &long[..]].concat(),
            Mode::Long => [&[0xff, 0x04, 0x25], &long[..]].concat(),
        }
    }

    #[test]
    fn the_code_ends_with_the_last_program() {
        let end = layout::PROGRAMS + layout::PROGRAM * Program::ALL.len() as u64;
        for mode in Mode::ALL {
            assert_eq!(code(mode).len() as u64, end - layout::CODE, "{mode}");
        }
    }

    #[test]
    fn a_stub_is_eight_nops_inc_maybe_add_and_iret() {
        for mode in Mode::ALL {
            let (drop, iret): (&[u8], &[u8]) = match mode {
                Mode::Real => (&[], &[0xcf]),
                Mode::Protected => (&[0x83, 0xc4, 4], &[0xcf]),
                Mode::Long => (&[0x48, 0x83, 0xc4, 8], &[0x48, 0xcf]),
            };
            for vector in 0..=255 {
                let count = inc(mode, layout::COUNTERS + 4 * u64::from(vector));
                assert_eq!(count.len() as u64, lengths(mode).count);
                assert_eq!(drop.len() as u64, lengths(mode).drop);
                let drop = if mode.pushes_error_code(vector) {
                    drop
                } else {
                    &[]
                };
                let mut expected = [&[NOP; 8], &count[..], drop, iret].concat();
                assert!(expected.len() <= layout::STUB as usize);
                expected.resize(layout::STUB as usize, FILL);
                let stub = at(mode, layout::STUBS + layout::STUB * u64::from(vector));
                assert!(stub.starts_with(&expected), "{mode}, vector {vector}");
            }
        }
    }

    #[test]
    fn the_sled_is_nops_and_a_loop() {
        for mode in Mode::ALL {
            let (nops, rest) = at(mode, layout::SLED).split_at(layout::SLED_NOPS as usize);
            assert!(nops.iter().all(|byte| *byte == NOP), "{mode}");
            // INC, and a JMP over both.
            let expected: &[u8] = match mode {
                Mode::Real => &[0x66, 0x41, 0xeb, 0xfc],
                Mode::Protected => &[0x41, 0xeb, 0xfd],
                Mode::Long => &[0x48, 0xff, 0xc1, 0xeb, 0xfb],
            };
            assert_eq!(expected.len() as u64, lengths(mode).sled + 2);
            assert!(rest.starts_with(expected), "{mode}: {:x?}", &rest[..8]);
        }
    }

    #[test]
    fn the_programs_are_where_their_entries_say() {
        for mode in Mode::ALL {
            let progress = inc(mode, layout::PROGRESS);
            let inc_ebx: &[u8] = match mode {
                Mode::Real => &[0x66, 0x43],
                Mode::Protected => &[0x43],
                Mode::Long => &[0xff, 0xc3],
            };
            for program in Program::ALL {
                let mut expected = match program {
                    Program::Spin => vec![],
                    Program::Count | Program::Masked => [&progress, inc_ebx].concat(),
                    Program::Halt => [&[0xf4], &progress[..]].concat(),
                    Program::PortOut => [&[0xee], &progress[..]].concat(),
                };
                // A JMP to the first instruction.
                let back = -(expected.len() as i8 + 2);
                expected.extend([0xeb, back as u8]);
                assert!(expected.len() <= layout::PROGRAM as usize);
                expected.resize(layout::PROGRAM as usize, FILL);
                let found = at(mode, program.entry());
                assert!(found.starts_with(&expected), "{mode}, {program}");
            }
        }
    }
}
