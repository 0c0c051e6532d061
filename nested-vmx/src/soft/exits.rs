// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The VM exits that L2's instructions may cause, with what the processor tells of them (SDM volume
//! 3, sections 27.1 and 29.2). Which of them L1 wants is the core's to say.

use super::instruction::{Fetched, Io, Kind, number};
use super::state::CpuState;
use crate::exit_reason::ExitReason;
use crate::l0::ExitInformation;
use crate::operand::Mode;
use iced_x86::Register;

/// The exit that an instruction would cause. `None`: it causes none, or is one that L2 may not
/// execute, so that an exception comes first.
pub(crate) fn information(fetched: &Fetched, state: &CpuState) -> Option<ExitInformation> {
    let kind = fetched.kind();
    if state.cpl() != 0 && is_privileged(kind) {
        return None;
    }
    let mut exit = ExitInformation::new(reason(kind)?);
    exit.instruction_length = fetched.instruction.len() as u32;
    match kind {
        Kind::MovToCr { cr, gpr } => exit.qualification = u64::from(cr) | (gpr as u64) << 8,
        Kind::MovFromCr { cr, gpr } => {
            exit.qualification = u64::from(cr) | 1 << 4 | (gpr as u64) << 8;
        }
        Kind::Clts => exit.qualification = 2 << 4,
        Kind::Lmsw => {
            let source = register_value(fetched.instruction.op0_register(), state);
            let from_memory = fetched.instruction.op0_register() == Register::None;
            exit.qualification = 3 << 4 | u64::from(from_memory) << 6 | (source & 0xffff) << 16;
        }
        Kind::MovDr { dr, gpr, to } => {
            exit.qualification = u64::from(dr) | u64::from(!to) << 4 | (gpr as u64) << 8;
        }
        Kind::Io(io) => {
            exit.qualification = io_qualification(&io, state);
            if io.string {
                exit.linear_address = string_address(fetched, state);
                exit.instruction_information = string_information(fetched);
            }
        }
        Kind::Invlpg => exit.qualification = address(fetched, state),
        Kind::DescriptorTable(which) | Kind::DescriptorSegment(which) => {
            exit.qualification = fetched.instruction.memory_displacement64();
            exit.instruction_information = memory_information(fetched) | which << 28;
        }
        Kind::Invpcid => {
            exit.qualification = fetched.instruction.memory_displacement64();
            let register = number(fetched.instruction.op0_register()) as u32;
            exit.instruction_information = memory_information(fetched) | register << 28;
        }
        Kind::Rdrand | Kind::Rdseed => {
            let register = fetched.instruction.op0_register();
            let size = match register.size() {
                2 => 0,
                4 => 1,
                _ => 2,
            };
            exit.instruction_information = (number(register) as u32) << 3 | size << 11;
        }
        _ => {}
    }
    Some(exit)
}

const fn reason(kind: Kind) -> Option<ExitReason> {
    Some(match kind {
        Kind::MovToCr { .. } | Kind::MovFromCr { .. } | Kind::Clts | Kind::Lmsw => {
            ExitReason::CR_ACCESS
        }
        Kind::MovDr { .. } => ExitReason::DR_ACCESS,
        Kind::Cpuid => ExitReason::CPUID,
        Kind::Hlt => ExitReason::HLT,
        Kind::Rdmsr => ExitReason::RDMSR,
        Kind::Wrmsr => ExitReason::WRMSR,
        Kind::Rdtsc => ExitReason::RDTSC,
        Kind::Rdtscp => ExitReason::RDTSCP,
        Kind::Rdpmc => ExitReason::RDPMC,
        Kind::Pause => ExitReason::PAUSE,
        Kind::Mwait => ExitReason::MWAIT,
        Kind::Monitor => ExitReason::MONITOR,
        Kind::Invd => ExitReason::INVD,
        Kind::Wbinvd => ExitReason::WBINVD,
        Kind::Xsetbv => ExitReason::XSETBV,
        Kind::Getsec => ExitReason::GETSEC,
        Kind::Rsm => ExitReason::RSM,
        Kind::Invlpg => ExitReason::INVLPG,
        Kind::Invpcid => ExitReason::INVPCID,
        Kind::Rdrand => ExitReason::RDRAND,
        Kind::Rdseed => ExitReason::RDSEED,
        Kind::Io(_) => ExitReason::IO_INSTRUCTION,
        Kind::DescriptorTable(_) => ExitReason::GDTR_IDTR_ACCESS,
        Kind::DescriptorSegment(_) => ExitReason::LDTR_TR_ACCESS,
        _ => return None,
    })
}

/// Whether privilege level 0 is needed, which is checked before there is a VM exit.
const fn is_privileged(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::Cpuid
            | Kind::Getsec
            | Kind::Io(_)
            | Kind::Pause
            | Kind::Rdpmc
            | Kind::Rdrand
            | Kind::Rdseed
            | Kind::Rdtsc
            | Kind::Rdtscp
            | Kind::Smsw
            | Kind::Vmx
    )
}

fn register_value(register: Register, state: &CpuState) -> u64 {
    match register {
        Register::None => 0,
        Register::RIP | Register::EIP => state.rip(),
        register => {
            let value = state.register(number(register));
            match register.size() {
                2 => value & 0xffff,
                4 => value & 0xffff_ffff,
                _ => value,
            }
        }
    }
}

/// The base address of a segment that an operand is in; 0 for those that 64-bit mode has no base for.
pub(crate) fn segment_base(segment: Register, state: &CpuState) -> u64 {
    let flat = state.mode() == Mode::Bits64;
    match segment {
        Register::FS => state.vmcs.guest_fs_base(),
        Register::GS => state.vmcs.guest_gs_base(),
        _ if flat => 0,
        Register::ES => state.vmcs.guest_es_base(),
        Register::CS => state.vmcs.guest_cs_base(),
        Register::SS => state.vmcs.guest_ss_base(),
        _ => state.vmcs.guest_ds_base(),
    }
}

/// The linear address of the memory operand.
fn address(fetched: &Fetched, state: &CpuState) -> u64 {
    let instruction = &fetched.instruction;
    let index = register_value(instruction.memory_index(), state);
    let offset = match instruction.is_ip_rel_memory_operand() {
        true => instruction.ip_rel_memory_address(),
        false => register_value(instruction.memory_base(), state)
            .wrapping_add(index.wrapping_mul(instruction.memory_index_scale().into()))
            .wrapping_add(instruction.memory_displacement64()),
    };
    linear(
        segment_base(instruction.memory_segment(), state),
        offset,
        state,
    )
}

fn linear(base: u64, offset: u64, state: &CpuState) -> u64 {
    let sum = base.wrapping_add(offset);
    match state.mode() {
        Mode::Bits64 => sum,
        _ => sum & 0xffff_ffff,
    }
}

/// SDM volume 3, table 29-5.
fn io_qualification(io: &Io, state: &CpuState) -> u64 {
    let port = match io.port {
        Some(port) => port.into(),
        None => state.register(2) & 0xffff,
    };
    u64::from(io.size.saturating_sub(1))
        | u64::from(io.input) << 3
        | u64::from(io.string) << 4
        | u64::from(io.repeated) << 5
        | u64::from(io.port.is_some()) << 6
        | port << 16
}

/// The linear address that INS writes or OUTS reads.
fn string_address(fetched: &Fetched, state: &CpuState) -> u64 {
    const RSI: usize = 6;
    const RDI: usize = 7;
    let instruction = &fetched.instruction;
    let is_input = instruction.op0_register() != Register::DX;
    let (segment, register) = match is_input {
        true => (Register::ES, RDI),
        false => (instruction.memory_segment(), RSI),
    };
    let mask = match address_size(fetched) {
        0 => 0xffff,
        1 => 0xffff_ffff,
        _ => u64::MAX,
    };
    linear(
        segment_base(segment, state),
        state.register(register) & mask,
        state,
    )
}

/// 0, 1, 2 for 16, 32, 64 bits.
fn address_size(fetched: &Fetched) -> u32 {
    use iced_x86::OpKind as O;
    let kinds = (0..fetched.instruction.op_count()).map(|at| fetched.instruction.op_kind(at));
    for kind in kinds {
        match kind {
            O::MemorySegSI | O::MemorySegDI | O::MemoryESDI => return 0,
            O::MemorySegESI | O::MemorySegEDI | O::MemoryESEDI => return 1,
            O::MemorySegRSI | O::MemorySegRDI | O::MemoryESRDI => return 2,
            O::Memory => {
                return match fetched
                    .instruction
                    .memory_base()
                    .size()
                    .max(fetched.instruction.memory_index().size())
                {
                    2 => 0,
                    4 => 1,
                    8 => 2,
                    _ => match fetched.instruction.memory_displ_size() {
                        2 => 0,
                        4 => 1,
                        _ => 2,
                    },
                };
            }
            _ => {}
        }
    }
    2
}

const fn segment_number(segment: Register) -> u32 {
    match segment {
        Register::ES => 0,
        Register::CS => 1,
        Register::SS => 2,
        Register::FS => 4,
        Register::GS => 5,
        _ => 3,
    }
}

/// SDM volume 3, table 29-9.
fn string_information(fetched: &Fetched) -> u32 {
    let segment = segment_number(fetched.instruction.memory_segment());
    address_size(fetched) << 7 | segment << 15
}

/// What the tables 29-10 to 29-14 have in common.
fn memory_information(fetched: &Fetched) -> u32 {
    let instruction = &fetched.instruction;
    if instruction.op_count() > 0
        && instruction.op0_register() != Register::None
        && instruction.memory_base() == Register::None
        && !(0..instruction.op_count())
            .any(|at| instruction.op_kind(at) == iced_x86::OpKind::Memory)
    {
        return 1 << 10 | (number(instruction.op0_register()) as u32) << 3;
    }
    let scale = instruction.memory_index_scale().trailing_zeros();
    let (base, index) = (instruction.memory_base(), instruction.memory_index());
    let part = |register: Register, at: u32, absent: u32| match register {
        Register::None | Register::RIP | Register::EIP => 1 << absent,
        register => (number(register) as u32) << at,
    };
    scale
        | address_size(fetched) << 7
        | segment_number(instruction.memory_segment()) << 15
        | part(index, 18, 22)
        | part(base, 23, 27)
}
