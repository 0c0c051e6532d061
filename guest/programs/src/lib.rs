// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guests of a few instructions without an operating system, in ring 0, for tests and benchmarks on
//! KVM: a [`Program`] that runs, and a handler for each of the 256 vectors ([`Handlers`]), in three
//! [`Mode`]s of the processor.
//!
//! Where KVM cannot run ring 0 on the processor it emulates each instruction, and knows only some. So
//! there are only NOP, INC, ADD, JMP, OUT, HLT and IRET. Of these Linux's emulator lacks IRET in
//! protected mode: KVM_RUN returns there with an internal error, the guest stays at the IRET.
//!
//! ```no_run
//! use guest_programs::{Guest, GuestVm, Handlers, Mode, Program};
//! use kvm_ioctls::Kvm;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let guest = Guest::new(Mode::Long, Handlers::Short, false);
//! let vm = GuestVm::new(&Kvm::new()?, &guest)?;
//! let vcpu = vm.fd().create_vcpu(0)?;
//! guest.set_up(&vcpu, Program::Count)?;
//! // KVM_INTERRUPT and KVM_RUN go here.
//! assert_eq!(guest.count(vm.memory(), 32)?, 1);
//! # Ok(())
//! # }
//! ```

#![cfg(target_arch = "x86_64")]

mod code;
mod error;
mod frame;
mod guest;
mod handlers;
mod layout;
mod mode;
mod program;
mod registers;
mod tables;
mod vm;

pub use error::Error;
pub use frame::Frame;
pub use guest::Guest;
pub use handlers::Handlers;
pub use layout::{SIZE, STACK_TOP};
pub use mode::Mode;
pub use program::{PORT, Program};
pub use vm::GuestVm;
