// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! VMX for an L1 on a KVM that has none (feature `soft`, x86-64 Linux): the core is L0, and KVM is
//! the engine that runs L1 and L2.
//!
//! [`SoftVcpu`] is a vCPU for a [`Runner`](vcpu_runner::Runner). L1 runs at KVM's speed between
//! places where it stops (HLT in place of an instruction's first byte), or step by step; L0 carries
//! its VMX instructions out. L2 runs step by step, under its own view of memory. What L1 injects is
//! delivered by KVM, in an entry that is made as short as possible
//! ([`Vcpu::run_briefly`](vcpu_runner::Vcpu::run_briefly)), so that an event that waits for L1 finds
//! L2 with its own event, and nothing executed.

mod below_stack;
mod copied_stop;
mod engine;
mod enter_l2;
mod error;
mod exits;
mod idt;
mod instruction;
mod l1_instruction;
mod l2_access;
mod l2_events;
mod l2_registers;
mod msrs;
mod native;
mod native_l2;
mod operands;
mod run_l1;
mod run_l2;
mod scan;
mod sites;
mod skip_flag;
mod space;
mod state;
mod statistics;
mod step_l2;
mod stops;
mod user_code;
mod user_frame;
mod vcpu;
mod view;
mod vmcs01;
mod vmx_instruction;
mod world;

pub use error::SoftError;
pub use skip_flag::SoftSkipFlag;
pub use statistics::SoftStatistics;
pub use vcpu::{Catch, Entering, SoftVcpu, UserStep};
pub use vmcs01::offered;
pub use world::{L2Memory, Signals, World};
