// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest: its memory's first bytes, its registers, and what can be read from it.

use std::sync::atomic::Ordering;

use kvm_bindings::kvm_regs;
use kvm_ioctls::VcpuFd;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::code::code;
use crate::error::{self, Error};
use crate::frame::{self, Frame};
use crate::handlers::Handlers;
use crate::layout;
use crate::mode::Mode;
use crate::program::Program;
use crate::{registers, tables};

/// A guest in one mode, with one kind of handlers.
#[derive(Clone, Debug)]
pub struct Guest {
    mode: Mode,
    handlers: Handlers,
    ist: bool,
    image: Vec<u8>,
}

impl Guest {
    /// Makes a guest. With `ist`, the vectors 2, 8 and 13 have stacks of their own; only long mode
    /// knows that, elsewhere `ist` changes nothing.
    pub fn new(mode: Mode, handlers: Handlers, ist: bool) -> Self {
        let mut image = vec![0; layout::SIZE];
        tables::write(&mut image, mode, handlers, ist);
        tables::put(&mut image, layout::CODE, code(mode));
        Self {
            mode,
            handlers,
            ist,
            image,
        }
    }

    /// Its mode.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Its handlers.
    pub fn handlers(&self) -> Handlers {
        self.handlers
    }

    /// What [`Self::load`] writes at guest physical address 0: [`SIZE`](crate::SIZE) bytes.
    pub fn image(&self) -> &[u8] {
        &self.image
    }

    /// Writes the guest into the first [`SIZE`](crate::SIZE) bytes of `memory`.
    ///
    /// # Errors
    ///
    /// The memory is smaller than that.
    pub fn load(&self, memory: &GuestMemoryMmap) -> Result<(), Error> {
        memory
            .write_slice(&self.image, GuestAddress(0))
            .map_err(error::memory(0))
    }

    /// Sets the special and the general registers so that `program` begins. KVM_SET_CPUID2, and on
    /// Intel processors KVM_SET_TSS_ADDR, are the caller's.
    ///
    /// # Errors
    ///
    /// KVM refuses the registers.
    pub fn set_up(&self, vcpu: &VcpuFd, program: Program) -> Result<(), Error> {
        let mut sregs = vcpu.get_sregs().map_err(error::ioctl("KVM_GET_SREGS"))?;
        registers::special(self.mode, &mut sregs);
        vcpu.set_sregs(&sregs)
            .map_err(error::ioctl("KVM_SET_SREGS"))?;
        self.reset(vcpu, program)
    }

    /// Sets the general registers so that `program` begins, on a vCPU that was [set up](Self::set_up)
    /// once: neither the programs nor the handlers change special registers. The state that
    /// KVM_SET_MP_STATE and KVM_SET_VCPU_EVENTS set (a HLT, a pending event, NMIs blocked) stays.
    ///
    /// # Errors
    ///
    /// KVM refuses the registers.
    pub fn reset(&self, vcpu: &VcpuFd, program: Program) -> Result<(), Error> {
        vcpu.set_regs(&registers::general(program))
            .map_err(error::ioctl("KVM_SET_REGS"))
    }

    /// The address of the first instruction of `program`.
    pub fn entry(&self, program: Program) -> u64 {
        program.entry()
    }

    /// Whether `rip` is in `program`.
    pub fn contains(&self, program: Program, rip: u64) -> bool {
        program.contains(rip)
    }

    /// The linear address of the first instruction of the handler of `vector`.
    pub fn handler(&self, vector: u8) -> u64 {
        self.handlers.entry(vector)
    }

    /// How many instructions of the handler of `vector` a guest with these registers has executed: 0 at
    /// the first. `None` when it is not at an instruction of that handler.
    ///
    /// In a short handler it is 0 to 8 up to the INC, 9 behind it, and 10 behind the ADD where there is
    /// one, so that 9 or 10 is the IRET, which is not executed yet. Instructions of the same vector that
    /// were executed before, up to an IRET, do not count.
    ///
    /// In the endless handler it is the NOP's index at a NOP, 4096 + 2 · RCX at the INC and
    /// 4096 + 2 · RCX - 1 at the JMP. That is right for the first entry after [`Self::reset`] and before
    /// the 32 bits of ECX (in long mode the 64 of RCX) overflow.
    pub fn executed(&self, vector: u8, regs: &kvm_regs) -> Option<u64> {
        self.handlers.executed(self.mode, vector, regs)
    }

    /// Whether the exception `vector` pushes an error code in this mode. An interrupt with the same
    /// vector does not, and a short handler for an exception with error code cannot return from it.
    pub fn pushes_error_code(&self, vector: u8) -> bool {
        self.mode.pushes_error_code(vector)
    }

    /// How often the short handler of `vector` has counted.
    ///
    /// # Errors
    ///
    /// The memory is smaller than [`SIZE`](crate::SIZE).
    pub fn count(&self, memory: &GuestMemoryMmap, vector: u8) -> Result<u32, Error> {
        word(memory, layout::COUNTERS + 4 * u64::from(vector))
    }

    /// How far the program has come, see [`Program`].
    ///
    /// # Errors
    ///
    /// The memory is smaller than [`SIZE`](crate::SIZE).
    pub fn progress(&self, memory: &GuestMemoryMmap) -> Result<u32, Error> {
        word(memory, layout::PROGRESS)
    }

    /// Sets the counters, the progress and the stacks to 0.
    ///
    /// # Errors
    ///
    /// The memory is smaller than [`SIZE`](crate::SIZE).
    pub fn clear(&self, memory: &GuestMemoryMmap) -> Result<(), Error> {
        const COUNTERS: usize = (layout::PROGRESS + 4 - layout::COUNTERS) as usize;
        const STACKS: usize = (layout::STACKS_END - layout::STACKS) as usize;
        zero::<COUNTERS>(memory, layout::COUNTERS)?;
        zero::<STACKS>(memory, layout::STACKS)
    }

    /// The top of the stack that the frame of `vector` is pushed on when it interrupts a program: the
    /// frame begins [`Self::frame_len`] below. (It is 16-byte aligned, so that long mode need not align
    /// it.)
    pub fn stack_for(&self, vector: u8) -> u64 {
        layout::ist_index(vector)
            .filter(|_| self.ist && self.mode == Mode::Long)
            .map_or(layout::STACK_TOP, layout::ist_top)
    }

    /// Bytes of an interrupt's frame, with an error code or without. In real mode there never is one.
    pub fn frame_len(&self, error_code: bool) -> u64 {
        frame::len(self.mode, error_code)
    }

    /// The interrupt's frame at the stack pointer `sp`, as it is at the handler's first instruction, with
    /// an error code or without. In real mode there never is one.
    ///
    /// # Errors
    ///
    /// The frame is not in the memory.
    pub fn frame(
        &self,
        memory: &GuestMemoryMmap,
        sp: u64,
        error_code: bool,
    ) -> Result<Frame, Error> {
        frame::decode(self.mode, memory, sp, error_code)
    }
}

/// The 32-bit word at `address`, which the guest may be writing.
fn word(memory: &GuestMemoryMmap, address: u64) -> Result<u32, Error> {
    memory
        .load(GuestAddress(address), Ordering::Acquire)
        .map_err(error::memory(address))
}

fn zero<const N: usize>(memory: &GuestMemoryMmap, address: u64) -> Result<(), Error> {
    memory
        .write_slice(&[0; N], GuestAddress(address))
        .map_err(error::memory(address))
}
