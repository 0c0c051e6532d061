// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `--nested soft`: the guest has VMX though the host's KVM has none. [`nested_vmx::soft`] is L0;
//! here is what it needs of a VMM: a machine without interrupt controllers of KVM's, the VMM's own
//! in their place, and a second VM for L2s with EPT.

mod alarm;
mod capabilities;
mod chipset;
mod interrupt_line;
mod l1_ram;
mod l2_vm;
mod machine;
mod probe;
mod world;

pub use alarm::{Alarm, AlarmEvents};
pub use capabilities::{processor, show_vmx};
pub use chipset::Chipset;
pub use interrupt_line::InterruptLine;
pub use l1_ram::L1Ram;
pub use l2_vm::L2Vm;
pub use machine::{SoftMachine, SoftMachineError};
pub use probe::vmx_instructions_exit;
pub use world::SoftWorld;
