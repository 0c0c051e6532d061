// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The reference VMM's machine with VMX in software, and `guest/l1` in it.

use std::sync::Arc;

use guest_l1::Mode;
use guest_l1::storm::{self, Shared};
use kvm_ioctls::Kvm;
use nested_vmx::soft::{Catch, Entering, SoftStatistics, SoftVcpu};
use vcpu_runner::{Deadline, Runner, VcpuThread};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_reference::devices::{I8042, PortBus};
use vmm_reference::outcome::{FirstOutcome, Outcome};
use vmm_reference::soft::{Chipset, SoftMachine, SoftWorld};
use vmm_reference::vcpu_handler::VcpuHandler;
use vmm_reference::vm::Vm;

use super::guest::{LIMIT, begin, memory, shared};

/// The keyboard controller's command port, by which the guest ends the machine.
const KEYBOARD_CONTROLLER: u16 = 0x64;

/// A running L1.
pub struct SoftL1 {
    pub memory: GuestMemoryMmap,
    pub chipset: Arc<Chipset>,
    pub thread: VcpuThread<SoftVcpu<SoftWorld>, VcpuHandler>,
    pub first: Arc<FirstOutcome>,
    /// It goes when the vCPUs have gone.
    vm: Vm,
}

impl SoftL1 {
    pub fn start(kvm: &Kvm, mode: Mode, catch: Option<Catch>, entering: Entering) -> Self {
        let memory = memory(mode);
        let machine = SoftMachine::new(kvm, memory.clone(), catch, |vcpu| {
            begin(vcpu);
            Ok(())
        });
        let SoftMachine {
            vcpu, chipset, vm, ..
        } = machine.unwrap();
        let first = Arc::new(FirstOutcome::new().unwrap());
        let reporting = first.clone();
        let keyboard = I8042::new(move || reporting.report(Outcome::Reset));
        let mut ports = PortBus::new();
        ports
            .register(KEYBOARD_CONTROLLER, 1, Arc::new(keyboard))
            .unwrap();
        let handler = VcpuHandler::new(0, Arc::new(ports), memory.clone(), first.clone())
            .with_chipset(chipset.clone());
        let vcpu = vcpu.entering(entering);
        let thread = Runner::new(vcpu, handler).name("l1").spawn().unwrap();
        Self {
            memory,
            chipset,
            thread,
            first,
            vm,
        }
    }

    /// Tells L1 to come to its end, and waits for it.
    pub fn end(self) -> (Shared, SoftStatistics) {
        let stop = GuestAddress(storm::STOP);
        self.memory.write_obj(1u64, stop).unwrap();
        self.thread
            .handle()
            .wait(Deadline::after(LIMIT))
            .unwrap_or_else(|error| panic!("{error}: {:x?}", shared(&self.memory)));
        let ended = self.thread.join().unwrap();
        let statistics = ended.vcpu.statistics();
        drop(ended);
        drop(self.vm);
        (shared(&self.memory), statistics)
    }
}
