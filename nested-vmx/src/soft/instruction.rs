// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The instruction at RIP, and what L0 has to know of it before it is executed.

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Mnemonic, OpKind, Register};

use super::idt::bitness;
use super::space::{Fault, Space};
use super::state::CpuState;
use crate::paging::Access;

/// The longest instruction.
pub(crate) const LONGEST: usize = 15;

/// An instruction that was fetched and decoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fetched {
    /// Decoded.
    pub(crate) instruction: iced_x86::Instruction,
    /// Its bytes, and some that follow.
    pub(crate) bytes: [u8; LONGEST],
    /// How many bytes there are.
    pub(crate) available: usize,
    /// The physical address of the first byte in L1.
    pub(crate) physical: u64,
}

/// What an instruction is to L0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A VMX instruction, which [`crate::operand::decode`] takes apart.
    Vmx,
    /// MOV to a control register.
    MovToCr { cr: u8, gpr: usize },
    /// MOV from a control register.
    MovFromCr { cr: u8, gpr: usize },
    /// CLTS.
    Clts,
    /// LMSW.
    Lmsw,
    /// SMSW.
    Smsw,
    /// MOV to or from a debug register.
    MovDr { dr: u8, gpr: usize, to: bool },
    /// CPUID.
    Cpuid,
    /// HLT.
    Hlt,
    /// RDMSR.
    Rdmsr,
    /// WRMSR.
    Wrmsr,
    /// RDTSC.
    Rdtsc,
    /// RDTSCP.
    Rdtscp,
    /// RDPMC.
    Rdpmc,
    /// PAUSE.
    Pause,
    /// MWAIT.
    Mwait,
    /// MONITOR.
    Monitor,
    /// INVD.
    Invd,
    /// WBINVD.
    Wbinvd,
    /// XSETBV.
    Xsetbv,
    /// GETSEC.
    Getsec,
    /// RSM.
    Rsm,
    /// INVLPG.
    Invlpg,
    /// INVPCID.
    Invpcid,
    /// RDRAND.
    Rdrand,
    /// RDSEED.
    Rdseed,
    /// IN, OUT, INS, OUTS.
    Io(Io),
    /// LGDT, LIDT, SGDT, SIDT; with what tells them apart in the instruction information.
    DescriptorTable(u32),
    /// LLDT, LTR, SLDT, STR; likewise.
    DescriptorSegment(u32),
    /// STI.
    Sti,
    /// MOV SS, POP SS: no trap follows them at once.
    LoadSs,
    /// PUSHF, which shows a step that is under way.
    Pushf,
    /// IRET.
    Iret,
    /// INT3, INTO, INT1, INT n, UD: an event.
    Event,
    /// No instruction.
    Invalid,
    /// Anything else.
    Other,
}

/// A port access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Io {
    /// The port; `None`: DX has it.
    pub(crate) port: Option<u8>,
    pub(crate) size: u8,
    pub(crate) input: bool,
    pub(crate) string: bool,
    pub(crate) repeated: bool,
}

impl Fetched {
    /// Fetches the instruction at the guest's RIP.
    pub(crate) fn at_rip(state: &CpuState, space: &Space<'_>) -> Result<Self, Fault> {
        Self::at(state.linear_rip(), state, space)
    }

    /// Fetches the instruction at a linear address, as code of the size that runs.
    pub(crate) fn at(linear: u64, state: &CpuState, space: &Space<'_>) -> Result<Self, Fault> {
        let mut bytes = [0; LONGEST];
        let available = space.fetch(linear, &mut bytes)?;
        let physical = space.translate(linear, Access::Fetch)?;
        let code = bytes.get(..available).unwrap_or_default();
        let mut decoder =
            Decoder::with_ip(bitness(state.mode()), code, linear, DecoderOptions::NONE);
        Ok(Self {
            instruction: decoder.decode(),
            bytes,
            available,
            physical,
        })
    }

    /// Its length in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.instruction.len() as u64
    }

    /// The bytes that are there.
    pub(crate) fn code(&self) -> &[u8] {
        self.bytes.get(..self.available).unwrap_or_default()
    }

    /// What it is.
    pub(crate) fn kind(&self) -> Kind {
        kind(&self.instruction)
    }
}

/// The number of a general-purpose register, whatever part of it is meant.
pub(crate) fn number(register: Register) -> usize {
    register.full_register().number()
}

fn kind(instruction: &iced_x86::Instruction) -> Kind {
    use Mnemonic as M;
    match instruction.mnemonic() {
        M::INVALID => Kind::Invalid,
        M::Vmxon
        | M::Vmxoff
        | M::Vmclear
        | M::Vmptrld
        | M::Vmptrst
        | M::Vmread
        | M::Vmwrite
        | M::Vmlaunch
        | M::Vmresume
        | M::Vmcall
        | M::Vmfunc
        | M::Invept
        | M::Invvpid => Kind::Vmx,
        M::Mov => mov(instruction),
        M::Pop if instruction.op0_register() == Register::SS => Kind::LoadSs,
        M::Clts => Kind::Clts,
        M::Lmsw => Kind::Lmsw,
        M::Smsw => Kind::Smsw,
        M::Cpuid => Kind::Cpuid,
        M::Hlt => Kind::Hlt,
        M::Rdmsr => Kind::Rdmsr,
        M::Wrmsr => Kind::Wrmsr,
        M::Rdtsc => Kind::Rdtsc,
        M::Rdtscp => Kind::Rdtscp,
        M::Rdpmc => Kind::Rdpmc,
        M::Pause => Kind::Pause,
        M::Mwait => Kind::Mwait,
        M::Monitor => Kind::Monitor,
        M::Invd => Kind::Invd,
        M::Wbinvd => Kind::Wbinvd,
        M::Xsetbv => Kind::Xsetbv,
        M::Getsec => Kind::Getsec,
        M::Rsm => Kind::Rsm,
        M::Invlpg => Kind::Invlpg,
        M::Invpcid => Kind::Invpcid,
        M::Rdrand => Kind::Rdrand,
        M::Rdseed => Kind::Rdseed,
        M::In | M::Out | M::Insb | M::Insw | M::Insd | M::Outsb | M::Outsw | M::Outsd => {
            Kind::Io(io(instruction))
        }
        // SDM volume 3, tables 29-12 and 29-13: bits 29:28.
        M::Sgdt => Kind::DescriptorTable(0),
        M::Sidt => Kind::DescriptorTable(1),
        M::Lgdt => Kind::DescriptorTable(2),
        M::Lidt => Kind::DescriptorTable(3),
        M::Sldt => Kind::DescriptorSegment(0),
        M::Str => Kind::DescriptorSegment(1),
        M::Lldt => Kind::DescriptorSegment(2),
        M::Ltr => Kind::DescriptorSegment(3),
        M::Sti => Kind::Sti,
        M::Pushf | M::Pushfd | M::Pushfq => Kind::Pushf,
        M::Iret | M::Iretd | M::Iretq => Kind::Iret,
        M::Int | M::Int3 | M::Int1 | M::Into | M::Ud0 | M::Ud1 | M::Ud2 => Kind::Event,
        _ => Kind::Other,
    }
}

fn mov(instruction: &iced_x86::Instruction) -> Kind {
    let (to, from) = (instruction.op0_register(), instruction.op1_register());
    if to == Register::SS {
        return Kind::LoadSs;
    }
    if to.is_cr() {
        return Kind::MovToCr {
            cr: to.number() as u8,
            gpr: number(from),
        };
    }
    if from.is_cr() {
        return Kind::MovFromCr {
            cr: from.number() as u8,
            gpr: number(to),
        };
    }
    if to.is_dr() || from.is_dr() {
        let is_write = to.is_dr();
        let (dr, gpr) = if is_write { (to, from) } else { (from, to) };
        return Kind::MovDr {
            dr: dr.number() as u8,
            gpr: number(gpr),
            to: is_write,
        };
    }
    Kind::Other
}

fn io(instruction: &iced_x86::Instruction) -> Io {
    use Mnemonic as M;
    let mnemonic = instruction.mnemonic();
    let string = !matches!(mnemonic, M::In | M::Out);
    let input = matches!(mnemonic, M::In | M::Insb | M::Insw | M::Insd);
    let register = if input {
        instruction.op0_register()
    } else {
        instruction.op1_register()
    };
    let size = match mnemonic {
        M::Insb | M::Outsb => 1,
        M::Insw | M::Outsw => 2,
        M::Insd | M::Outsd => 4,
        _ => register.size() as u8,
    };
    let immediate = (0..instruction.op_count())
        .any(|operand| instruction.op_kind(operand) == OpKind::Immediate8);
    Io {
        port: (immediate && !string).then(|| instruction.immediate8()),
        size,
        input,
        string,
        repeated: instruction.has_rep_prefix() || instruction.has_repne_prefix(),
    }
}

/// Where control goes after an instruction that L0 lets the processor execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// To the next instruction.
    Next,
    /// To this linear address.
    Jump(u64),
    /// To this linear address or to the next instruction.
    Branch(u64),
    /// To an address that only executing it shows.
    Unknown,
}

/// Where control goes, in the terms of linear addresses: `base` is that of the code segment.
pub(crate) fn flow(instruction: &iced_x86::Instruction) -> Flow {
    match instruction.flow_control() {
        FlowControl::Next => Flow::Next,
        FlowControl::UnconditionalBranch if is_near(instruction) => {
            Flow::Jump(instruction.near_branch_target())
        }
        FlowControl::ConditionalBranch => Flow::Branch(instruction.near_branch_target()),
        FlowControl::Call if is_near(instruction) => Flow::Branch(instruction.near_branch_target()),
        _ => Flow::Unknown,
    }
}

fn is_near(instruction: &iced_x86::Instruction) -> bool {
    matches!(
        instruction.op0_kind(),
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
    )
}

/// A near RET: how many bytes of operands it releases.
pub(crate) fn near_return(instruction: &iced_x86::Instruction) -> Option<u16> {
    match instruction.code() {
        Code::Retnq | Code::Retnd => Some(0),
        Code::Retnq_imm16 | Code::Retnd_imm16 => Some(instruction.immediate16()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8], bitness: u32) -> iced_x86::Instruction {
        Decoder::with_ip(bitness, bytes, 0x1000, DecoderOptions::NONE).decode()
    }

    #[test]
    fn instructions_are_told_apart() {
        let cases: &[(&[u8], u32, Kind)] = &[
            (&[0x0f, 0x01, 0xc1], 64, Kind::Vmx),
            (&[0x0f, 0x01, 0xc2], 32, Kind::Vmx),
            (&[0xf3, 0x0f, 0xc7, 0x30], 64, Kind::Vmx),
            (&[0x0f, 0x78, 0xc1], 64, Kind::Vmx),
            (&[0x0f, 0x20, 0xe0], 64, Kind::MovFromCr { cr: 4, gpr: 0 }),
            (&[0x0f, 0x22, 0xe1], 32, Kind::MovToCr { cr: 4, gpr: 1 }),
            (
                &[0x44, 0x0f, 0x20, 0xc3],
                64,
                Kind::MovFromCr { cr: 8, gpr: 3 },
            ),
            (
                &[0x41, 0x0f, 0x22, 0xda],
                64,
                Kind::MovToCr { cr: 3, gpr: 10 },
            ),
            (
                &[0x0f, 0x23, 0xf8],
                64,
                Kind::MovDr {
                    dr: 7,
                    gpr: 0,
                    to: true,
                },
            ),
            (&[0x8e, 0xd0], 64, Kind::LoadSs),
            (&[0x8e, 0xd8], 64, Kind::Other),
            (&[0x17], 32, Kind::LoadSs),
            (&[0xf4], 64, Kind::Hlt),
            (&[0xf3, 0x90], 64, Kind::Pause),
            (&[0x90], 64, Kind::Other),
            (&[0x0f, 0x0b], 64, Kind::Event),
            (&[0xcc], 64, Kind::Event),
            (&[0x06], 64, Kind::Invalid),
            (&[0x0f, 0x01, 0x18], 64, Kind::DescriptorTable(3)),
        ];
        for (bytes, bitness, expected) in cases {
            assert_eq!(kind(&decoded(bytes, *bitness)), *expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn port_accesses_are_taken_apart() {
        let io = |bytes: &[u8]| match kind(&decoded(bytes, 64)) {
            Kind::Io(io) => io,
            other => panic!("{bytes:02x?}: {other:?}"),
        };
        let plain = Io {
            port: None,
            size: 1,
            input: false,
            string: false,
            repeated: false,
        };
        assert_eq!(io(&[0xee]), plain);
        assert_eq!(
            io(&[0xe6, 0x80]),
            Io {
                port: Some(0x80),
                ..plain
            }
        );
        assert_eq!(
            io(&[0xed]),
            Io {
                size: 4,
                input: true,
                ..plain
            }
        );
        assert_eq!(
            io(&[0xf3, 0x6e]),
            Io {
                string: true,
                repeated: true,
                ..plain
            }
        );
        assert_eq!(
            io(&[0x66, 0xe5, 0x10]),
            Io {
                port: Some(0x10),
                size: 2,
                input: true,
                ..plain
            }
        );
    }

    #[test]
    fn control_flow_is_followed_where_it_is_known() {
        let flows: &[(&[u8], Flow)] = &[
            (&[0x90], Flow::Next),
            (&[0xeb, 0x10], Flow::Jump(0x1012)),
            (&[0x74, 0xfe], Flow::Branch(0x1000)),
            (&[0xe8, 0, 0, 0, 0], Flow::Branch(0x1005)),
            (&[0xc3], Flow::Unknown),
            (&[0xff, 0xe0], Flow::Unknown),
            (&[0xff, 0xd0], Flow::Unknown),
            (&[0x48, 0xcf], Flow::Unknown),
            (&[0xe2, 0xfe], Flow::Branch(0x1000)),
            (&[0x0f, 0x05], Flow::Unknown),
        ];
        for (bytes, expected) in flows {
            assert_eq!(flow(&decoded(bytes, 64)), *expected, "{bytes:02x?}");
        }
        assert_eq!(near_return(&decoded(&[0xc3], 64)), Some(0));
        assert_eq!(near_return(&decoded(&[0xc2, 8, 0], 64)), Some(8));
        assert_eq!(near_return(&decoded(&[0x48, 0xcb], 64)), None);
    }
}
