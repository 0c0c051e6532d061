// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Decoding of VMX instructions against another decoder, iced-x86.

#![allow(clippy::unwrap_used)] // A test that fails panics.

mod iced;

use iced::{MODES, RIP, agree};
use nested_vmx::operand::{DecodeError, Mode, VmxInstruction, decode};
use proptest::prelude::*;

/// Opcodes without prefixes, VMX instructions' and their neighbours'.
const OPCODES: &[&[u8]] = &[
    &[0x0f, 0x01],
    &[0x0f, 0x38, 0x80],
    &[0x0f, 0x38, 0x81],
    &[0x0f, 0x38, 0x82],
    &[0x0f, 0x78],
    &[0x0f, 0x79],
    &[0x0f, 0xc7],
];

const PREFIXES: &[u8] = &[
    0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x40, 0x41, 0x42, 0x44, 0x47,
    0x48, 0x4f,
];

/// What follows ModRM: SIB bytes of all sorts, then a displacement.
fn tails(modrm: u8) -> Vec<[u8; 5]> {
    let after = [0x80, 0xff, 0x7f, 0xc1];
    let sibs: Vec<u8> = match modrm & 7 {
        4 => (0..8)
            .flat_map(|base| [0x00, 0x20, 0x60, 0xa8, 0xf8].map(|rest| rest | base))
            .collect(),
        _ => vec![0x12],
    };
    sibs.into_iter()
        .map(|sib| [sib, after[0], after[1], after[2], after[3]])
        .collect()
}

#[test]
fn every_modrm_with_every_pair_of_prefixes() {
    let mut prefixes: Vec<Vec<u8>> = vec![vec![]];
    prefixes.extend(PREFIXES.iter().map(|&prefix| vec![prefix]));
    for &first in PREFIXES {
        prefixes.extend(PREFIXES.iter().map(|&second| vec![first, second]));
    }
    let mut found = std::collections::HashSet::new();
    for prefixes in &prefixes {
        for opcode in OPCODES {
            for modrm in 0..=255 {
                // All SIB bytes only where there is little else.
                let count = if prefixes.len() < 2 { usize::MAX } else { 1 };
                for tail in tails(modrm).into_iter().take(count) {
                    let bytes = [prefixes, *opcode, &[modrm], &tail[..]].concat();
                    for mode in MODES {
                        if agree(&bytes, mode) {
                            let decoded = decode(&bytes, mode.0, RIP).unwrap();
                            found.insert((decoded.instruction, mode.1));
                        }
                    }
                }
            }
        }
    }
    assert_eq!(found.len(), 13 * 3, "{found:?}");
}

#[test]
fn fewer_bytes_than_the_instruction_has() {
    // VMCLEAR GS:[R12+R13*8+0x12345678], with an address-size prefix.
    let bytes = [
        0x65, 0x67, 0x66, 0x43, 0x0f, 0xc7, 0xb4, 0xec, 0x78, 0x56, 0x34, 0x12,
    ];
    for length in 0..bytes.len() {
        let error = decode(&bytes[..length], Mode::Bits64, RIP).unwrap_err();
        assert_eq!(error, DecodeError::Truncated, "{length} bytes");
    }
    let decoded = decode(&bytes, Mode::Bits64, RIP).unwrap();
    assert_eq!(decoded.instruction, VmxInstruction::Vmclear);
    assert_eq!(decoded.length, 12);
    assert_eq!(decoded.qualification(), 0x1234_5678);
    // Scale 8, 32-bit address, GS, R13, R12.
    let information = 3 | 1 << 7 | 5 << 15 | 13 << 18 | 12 << 23;
    assert_eq!(decoded.information().0, information);
}

#[test]
fn fifteen_bytes_and_sixteen() {
    let with_prefixes = |count| [&[0x3e; 15][..count], &[0x0f, 0x01, 0xc1]].concat();
    let longest = with_prefixes(12);
    assert_eq!(decode(&longest, Mode::Bits64, RIP).unwrap().length, 15);
    let error = decode(&with_prefixes(13), Mode::Bits64, RIP).unwrap_err();
    assert_eq!(error, DecodeError::TooLong);
}

#[test]
fn invalid_forms() {
    for bytes in [
        // LOCK VMCALL, LOCK VMPTRLD [EAX], INVEPT EAX, EAX, INVVPID EAX, EAX.
        &[0xf0, 0x0f, 0x01, 0xc1][..],
        &[0xf0, 0x0f, 0xc7, 0x30],
        &[0x66, 0x0f, 0x38, 0x80, 0xc0],
        &[0x66, 0x0f, 0x38, 0x81, 0xc0],
    ] {
        let error = decode(bytes, Mode::Bits32, RIP).unwrap_err();
        assert_eq!(error, DecodeError::InvalidOpcode, "{bytes:02x?}");
    }
}

/// Bytes that are likely to be VMX instructions.
fn likely() -> impl Strategy<Value = Vec<u8>> {
    let prefixes = prop::collection::vec(prop::sample::select(PREFIXES), 0..5);
    let opcode = prop::sample::select(OPCODES);
    let tail = prop::collection::vec(any::<u8>(), 0..10);
    (prefixes, opcode, tail)
        .prop_map(|(prefixes, opcode, tail)| [&prefixes, opcode, &tail].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn random_instructions(bytes in likely()) {
        for mode in MODES {
            agree(&bytes, mode);
        }
    }

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..18)) {
        for mode in MODES {
            agree(&bytes, mode);
        }
    }
}
