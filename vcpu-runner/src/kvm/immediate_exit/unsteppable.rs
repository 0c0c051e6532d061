// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Instructions that must not be stepped: with RFLAGS.TF they would store the TF that is not the guest's
//! where the guest sees it (PUSHF, INT, SYSCALL), or load their own over it (POPF, IRET); and HLT.

/// Longest instruction (SDM 2, 2.3.11).
pub(super) const LONGEST: usize = 15;

/// Whether the instruction that `bytes` begin with reads or writes RFLAGS as a whole. Bytes that end
/// too early are no such instruction: the guest cannot execute what it cannot fetch.
pub(super) fn is_flags_instruction(bytes: &[u8], is_64_bit: bool) -> bool {
    let mut bytes = bytes
        .iter()
        .copied()
        .skip_while(|&byte| is_prefix(byte, is_64_bit));
    match bytes.next() {
        // PUSHF, POPF, INT3, INT n, INTO, IRET, INT1.
        Some(0x9c | 0x9d | 0xcc..=0xcf | 0xf1) => true,
        // SYSCALL, SYSRET, SYSENTER, SYSEXIT.
        Some(0x0f) => matches!(bytes.next(), Some(0x05 | 0x07 | 0x34 | 0x35)),
        _ => false,
    }
}

/// Whether the instruction is HLT. A step over it hides that the guest has halted, or shows it later:
/// there are KVMs that give the debug exit first and KVM_EXIT_HLT after the next instruction, which may
/// be a handler's.
pub(super) fn is_halt(bytes: &[u8], is_64_bit: bool) -> bool {
    let mut bytes = bytes
        .iter()
        .copied()
        .skip_while(|&byte| is_prefix(byte, is_64_bit));
    bytes.next() == Some(0xf4)
}

fn is_prefix(byte: u8, is_64_bit: bool) -> bool {
    match byte {
        0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0x66 | 0x67 | 0xf0 | 0xf2 | 0xf3 => true,
        0x40..=0x4f => is_64_bit,
        _ => false,
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn those_that_show_the_flags() {
        for bytes in [
            &[0x9c][..],
            &[0x66, 0x9d],
            &[0xcd, 0x80],
            &[0xcc],
            &[0xf1],
            &[0x0f, 0x05],
            &[0x0f, 0x34],
        ] {
            assert!(is_flags_instruction(bytes, false), "{bytes:x?}");
            assert!(is_flags_instruction(bytes, true), "{bytes:x?}");
        }
        // REX.W IRET; in 32-bit mode the first byte is DEC EAX.
        assert!(is_flags_instruction(&[0x48, 0xcf], true));
        assert!(!is_flags_instruction(&[0x48, 0xcf], false));
    }

    #[test]
    fn a_halt_is_told_from_others() {
        assert!(is_halt(&[0xf4], true) && is_halt(&[0x66, 0x48, 0xf4], true));
        assert!(
            !is_halt(&[0x48, 0xf4], false) && !is_halt(&[0x90, 0xf4], true) && !is_halt(&[], true)
        );
    }

    #[test]
    fn those_that_do_not() {
        for bytes in [
            &[][..],
            &[0x90],
            &[0xeb, 0xfe],
            &[0x0f],
            &[0x0f, 0xa2],
            &[0x66; LONGEST],
            &[0xfa],
        ] {
            assert!(!is_flags_instruction(bytes, true), "{bytes:x?}");
        }
    }
}
