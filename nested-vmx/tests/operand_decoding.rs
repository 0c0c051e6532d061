// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Decoding of VMX instructions against another decoder, iced-x86.

#![allow(clippy::unwrap_used)] // A test that fails panics.

use iced_x86::{Code, Decoder, DecoderError, DecoderOptions, Instruction, OpKind, Register};
use nested_vmx::operand::{
    AddressSize, DecodeError, Decoded, Gpr, MemoryOperand, Mode, Operands, RegisterOrMemory, Scale,
    Segment, VmxInstruction, decode,
};
use proptest::prelude::*;

const RIP: u64 = 0x7fff_1234_5678;

const MODES: [(Mode, u32); 3] = [(Mode::Bits16, 16), (Mode::Bits32, 32), (Mode::Bits64, 64)];

/// Which VMX instruction a code of iced-x86 is.
fn instruction(code: Code) -> Option<VmxInstruction> {
    Some(match code {
        Code::Invept_r32_m128 | Code::Invept_r64_m128 => VmxInstruction::Invept,
        Code::Invvpid_r32_m128 | Code::Invvpid_r64_m128 => VmxInstruction::Invvpid,
        Code::Vmcall => VmxInstruction::Vmcall,
        Code::Vmclear_m64 => VmxInstruction::Vmclear,
        Code::Vmfunc => VmxInstruction::Vmfunc,
        Code::Vmlaunch => VmxInstruction::Vmlaunch,
        Code::Vmptrld_m64 => VmxInstruction::Vmptrld,
        Code::Vmptrst_m64 => VmxInstruction::Vmptrst,
        Code::Vmread_rm32_r32 | Code::Vmread_rm64_r64 => VmxInstruction::Vmread,
        Code::Vmresume => VmxInstruction::Vmresume,
        Code::Vmwrite_r32_rm32 | Code::Vmwrite_r64_rm64 => VmxInstruction::Vmwrite,
        Code::Vmxoff => VmxInstruction::Vmxoff,
        Code::Vmxon_m64 => VmxInstruction::Vmxon,
        _ => return None,
    })
}

/// A general-purpose register's number and size. In iced-x86 they are one after the other, those of
/// 16 bits first.
fn gpr_and_size(register: Register) -> Option<(Gpr, AddressSize)> {
    [
        (Register::AX, AddressSize::Bits16),
        (Register::EAX, AddressSize::Bits32),
        (Register::RAX, AddressSize::Bits64),
    ]
    .into_iter()
    .find_map(
        |(first, size)| match (register as u8).checked_sub(first as u8) {
            Some(number @ 0..16) => Some((Gpr::new(number), size)),
            _ => None,
        },
    )
}

fn gpr(register: Register) -> Option<Gpr> {
    gpr_and_size(register).map(|(gpr, _)| gpr)
}

fn memory(instruction: &Instruction, mode: Mode) -> MemoryOperand {
    let base = instruction.memory_base();
    let index = gpr(instruction.memory_index());
    let address_size = match (base, instruction.memory_index()) {
        (Register::RIP, _) => AddressSize::Bits64,
        (Register::EIP, _) => AddressSize::Bits32,
        (Register::None, Register::None) => match instruction.memory_displ_size() {
            2 => AddressSize::Bits16,
            4 => AddressSize::Bits32,
            _ => AddressSize::Bits64,
        },
        (Register::None, index) => by_size(index),
        (base, _) => by_size(base),
    };
    let default = Segment::default_for(gpr(base));
    let segment = match instruction.memory_segment() {
        Register::FS => Segment::Fs,
        Register::GS => Segment::Gs,
        // Overrides by these do nothing in 64-bit mode; iced-x86 notes them all the same.
        _ if mode == Mode::Bits64 => default,
        Register::ES => Segment::Es,
        Register::CS => Segment::Cs,
        Register::SS => Segment::Ss,
        _ => Segment::Ds,
    };
    MemoryOperand {
        segment,
        base: gpr(base),
        index,
        scale: index.map_or(Scale::By1, |_| {
            Scale::from_shift(instruction.memory_index_scale().trailing_zeros() as u8)
        }),
        displacement: instruction.memory_displacement64() & address_size.mask(),
        address_size,
    }
}

fn by_size(register: Register) -> AddressSize {
    gpr_and_size(register).unwrap().1
}

/// What iced-x86 says that the bytes are, if it is a VMX instruction.
fn by_iced(bytes: &[u8], mode: Mode, bits: u32) -> (Option<Decoded>, DecoderError) {
    let mut decoder = Decoder::with_ip(bits, bytes, RIP, DecoderOptions::NONE);
    let decoded = decoder.decode();
    let Some(name) = instruction(decoded.code()) else {
        return (None, decoder.last_error());
    };
    let operand = |at| match decoded.op_kind(at) {
        OpKind::Memory => RegisterOrMemory::Memory(memory(&decoded, mode)),
        _ => RegisterOrMemory::Register(gpr(decoded.op_register(at)).unwrap()),
    };
    let register = |at| gpr(decoded.op_register(at)).unwrap();
    let operands = match name {
        VmxInstruction::Vmread => Operands::Field {
            encoding: register(1),
            value: operand(0),
        },
        VmxInstruction::Vmwrite => Operands::Field {
            encoding: register(0),
            value: operand(1),
        },
        VmxInstruction::Invept | VmxInstruction::Invvpid => Operands::Invalidation {
            kind: register(0),
            descriptor: memory(&decoded, mode),
        },
        _ if decoded.op_count() == 0 => Operands::None,
        _ => Operands::Memory(memory(&decoded, mode)),
    };
    let decoded = Decoded {
        instruction: name,
        operands,
        length: u8::try_from(decoded.len()).unwrap(),
    };
    (Some(decoded), decoder.last_error())
}

/// Without the displacement's bits that mean nothing.
fn defined(mut decoded: Decoded) -> Decoded {
    if let Operands::Memory(memory)
    | Operands::Invalidation {
        descriptor: memory, ..
    }
    | Operands::Field {
        value: RegisterOrMemory::Memory(memory),
        ..
    } = &mut decoded.operands
    {
        memory.displacement &= memory.address_size.mask();
    }
    decoded
}

/// Both decoders agree. Returns whether it is a VMX instruction.
fn agree(bytes: &[u8], (mode, bits): (Mode, u32)) -> bool {
    let ours = decode(bytes, mode, RIP);
    let (theirs, error) = by_iced(bytes, mode, bits);
    let context = format!("{bytes:02x?} in {mode:?}: {ours:?}, {theirs:?}, {error:?}");
    match ours {
        Ok(ours) => {
            assert_eq!(Some(defined(ours)), theirs, "{context}");
            check_information(&ours);
        }
        // iced-x86 tells of missing bytes, and of bytes beyond the 15th, in the same way.
        Err(DecodeError::Truncated) => {
            assert_eq!(error, DecoderError::NoMoreBytes, "{context}");
        }
        Err(DecodeError::TooLong) => {
            assert!(bytes.len() >= 15, "{context}");
            assert_ne!(error, DecoderError::None, "{context}");
        }
        Err(DecodeError::InvalidOpcode) => {
            assert_eq!(error, DecoderError::InvalidInstruction, "{context}");
        }
        Err(DecodeError::NotVmx) => assert_eq!(theirs, None, "{context}"),
    }
    ours.is_ok()
}

/// The instruction information gives the operands back.
fn check_information(decoded: &Decoded) {
    let information = decoded.information();
    let from_information = information.memory_operand(decoded.qualification());
    match decoded.operands {
        Operands::None => assert_eq!(information.0, 0),
        Operands::Memory(memory) => assert_eq!(from_information, Some(memory)),
        Operands::Field { encoding, value } => {
            assert_eq!(information.reg2(), encoding);
            match value {
                RegisterOrMemory::Register(register) => {
                    assert_eq!(from_information, None);
                    assert!(information.is_register());
                    assert_eq!(information.reg1(), register);
                }
                RegisterOrMemory::Memory(memory) => assert_eq!(from_information, Some(memory)),
            }
        }
        Operands::Invalidation { kind, descriptor } => {
            assert_eq!(information.reg2(), kind);
            assert_eq!(from_information, Some(descriptor));
        }
    }
}

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
