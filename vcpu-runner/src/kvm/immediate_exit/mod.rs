// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The immediate exit on KVM: the guest is entered for real, and comes straight back.
//!
//! KVM has no call for it (`kvm_run.immediate_exit` enters nothing). What there is are mechanisms
//! that make KVM come back soon after an entry, each with a hole ([`Mechanism`]); so a vCPU has
//! several of them, in an order that was measured on the host ([`HostMechanisms`]), takes the first
//! that fits what the guest does at the moment, and checks afterwards whether the guest was entered:
//!
//! ```text
//!            +--> look at registers, events, count of exits
//!            |    choose: the first mechanism whose preconditions are met
//!            |    arm, KVM_RUN, disarm
//!   missed,  |    look again:
//!   try      |      an exit that only a guest makes     \
//!   again    |      the injection is consumed            |  entered: done
//!            |      the count of exits has grown         |
//!            |      a register has changed              /
//!            +---   none of these: missed
//! ```
//!
//! What the user debugs (breakpoints, single step) and what the guest debugs (RFLAGS.TF) is
//! afterwards what it was before.

mod brief;
mod debug_control;
mod delay;
mod event;
mod exits_counter;
mod guest_ram;
mod handler_address;
mod interrupt_frame;
mod interrupt_window;
mod linear_memory;
mod mechanism;
mod order;
mod probe;
mod set_up;
mod situation;
mod step;
mod step_and_breakpoint;
mod thread_timer;
mod timer;
mod unsteppable;

pub(super) use brief::{Abilities, BriefEntries, Entry, Ran};

pub use guest_ram::GuestRam;
pub use interrupt_window::Pic;
pub use mechanism::{Mechanism, NoHandler, Unmet};
pub use order::MechanismOrder;
pub use probe::{HostMechanisms, Measured, Sample, steps_user_code};
pub use set_up::ImmediateExitSetUp;
