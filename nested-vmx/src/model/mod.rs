// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A model of everything outside of [`NestedVmx`](crate::l0::NestedVmx): a processor that delivers
//! injected events and runs scripted L2s, memory, MSRs, an interrupt controller, a clock, and the
//! loop that drives it all. For tests and fuzzers: it is small rather than fast.

mod cpu;
mod exercise;
mod interrupts;
mod machine;
mod memory;
mod msrs;
mod template;

pub use cpu::{Cpu, L2Instruction};
pub use exercise::{Exercise, Operation, Violation};
pub use interrupts::InterruptController;
pub use machine::{Machine, RequestCounter, Stepped, TestClock, Value};
pub use memory::ModelMemory;
pub use msrs::ModelMsrs;
pub use template::{L2_CODE, l1_of, vmcs12_of};
