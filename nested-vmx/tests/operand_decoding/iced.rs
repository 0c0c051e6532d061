// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What iced-x86 makes of the same bytes. The fuzz target `operands` has this file too.

use iced_x86::{Code, Decoder, DecoderError, DecoderOptions, Instruction, OpKind, Register};
use nested_vmx::operand::{
    AddressSize, DecodeError, Decoded, Gpr, MemoryOperand, Mode, Operands, RegisterOrMemory, Scale,
    Segment, VmxInstruction, decode,
};

/// Where the instructions are.
pub const RIP: u64 = 0x7fff_1234_5678;

/// The modes, and what iced-x86 calls them.
pub const MODES: [(Mode, u32); 3] = [(Mode::Bits16, 16), (Mode::Bits32, 32), (Mode::Bits64, 64)];

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

/// Both decoders agree, or it panics. Returns whether it is a VMX instruction.
pub fn agree(bytes: &[u8], (mode, bits): (Mode, u32)) -> bool {
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
