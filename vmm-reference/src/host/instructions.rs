// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which instructions guest kernel code may use: where KVM emulates it, those that its emulator
//! lacks end the VM.

use std::arch::x86_64::__cpuid;

use kvm_ioctls::Kvm;
use vcpu_runner::kvm::{ProbeError, ProbeExit, ProbeGuest};

/// An instruction that a stock kernel executes in ring 0.
#[derive(Clone, Copy, Debug)]
pub struct Instruction {
    /// Its mnemonic, in lower case.
    pub name: &'static str,
    /// Itself, and a HLT.
    code: &'static [u8],
    /// CPUID leaf 1, ECX: the bit that says whether the processor has it; `None`: all have.
    cpuid_1_ecx_bit: Option<u32>,
}

/// Those that are tried. A stock 64-bit kernel uses all of them early: it counts CPUs with POPCNT,
/// its memory allocator exchanges 16 bytes at once, and it tests its breakpoint handler.
pub const INSTRUCTIONS: &[Instruction] = &[
    Instruction {
        name: "popcnt",
        // popcnt rax, rdi; hlt
        code: &[0xf3, 0x48, 0x0f, 0xb8, 0xc7, 0xf4],
        cpuid_1_ecx_bit: Some(23),
    },
    Instruction {
        name: "cmpxchg16b",
        // lock cmpxchg16b [rdi]; hlt
        code: &[0xf0, 0x48, 0x0f, 0xc7, 0x0f, 0xf4],
        cpuid_1_ecx_bit: Some(13),
    },
    Instruction {
        name: "int3",
        // Its handler halts.
        code: &[0xcc],
        cpuid_1_ecx_bit: None,
    },
];

/// What became of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// It was executed.
    Yes,
    /// KVM_EXIT_INTERNAL_ERROR: KVM emulates, and its emulator lacks it.
    InternalError,
    /// The guest got an exception.
    Exception,
    /// It was not tried: this processor lacks it.
    NotInProcessor,
}

pub(super) fn probe(kvm: &Kvm) -> Vec<(&'static str, Result<Ran, ProbeError>)> {
    INSTRUCTIONS
        .iter()
        .map(|instruction| (instruction.name, try_one(kvm, instruction)))
        .collect()
}

fn try_one(kvm: &Kvm, instruction: &Instruction) -> Result<Ran, ProbeError> {
    if let Some(bit) = instruction.cpuid_1_ecx_bit
        && __cpuid(1).ecx & 1 << bit == 0
    {
        return Ok(Ran::NotInProcessor);
    }
    match ProbeGuest::new(kvm, instruction.code)?.run_on()? {
        ProbeExit::Hlt => Ok(Ran::Yes),
        ProbeExit::InternalError => Ok(Ran::InternalError),
        ProbeExit::Shutdown => Ok(Ran::Exception),
        other => Err(ProbeError::UnexpectedExit(format!("{other:?}"))),
    }
}
