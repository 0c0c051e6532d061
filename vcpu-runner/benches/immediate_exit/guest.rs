// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest of all contenders.

use std::sync::Arc;

use guest_programs::{Guest, GuestVm, Handlers, Mode, Program};
use kvm_ioctls::Kvm;
use vcpu_runner::kvm::KvmVcpu;
use vm_memory::GuestMemoryMmap;

use crate::contender::Subject;

const VECTOR: u8 = 0x40;

/// A machine with one vCPU, without an interrupt controller in the kernel.
pub struct Machine {
    pub vcpu: KvmVcpu,
    guest: Guest,
    _vm: GuestVm,
    pub memory: Arc<GuestMemoryMmap>,
}

impl Machine {
    pub fn new() -> Self {
        let kvm = Kvm::new().unwrap();
        let guest = Guest::new(Mode::Long, Handlers::Endless, false);
        let vm = GuestVm::new(&kvm, &guest).unwrap();
        let fd = vm.fd().create_vcpu(0).unwrap();
        guest.set_up(&fd, Program::Spin).unwrap();
        Self {
            vcpu: KvmVcpu::new(&kvm, fd).unwrap(),
            guest,
            memory: Arc::clone(vm.memory()),
            _vm: vm,
        }
    }

    /// Puts the guest to its beginning, with the event waiting if there is to be one.
    pub fn restart(&self, subject: Subject) {
        let fd = self.vcpu.fd();
        self.guest.reset(fd, Program::Spin).unwrap();
        match subject {
            Subject::Event => self.vcpu.interrupt(VECTOR).unwrap(),
            Subject::Nothing => {
                // The same NOPs, not called as a handler.
                let mut regs = fd.get_regs().unwrap();
                regs.rip = self.guest.handler(VECTOR);
                fd.set_regs(&regs).unwrap();
            }
        }
    }

    /// How many of the NOPs, and of the loop behind them, have been executed.
    pub fn executed(&self) -> u64 {
        let regs = self.vcpu.fd().get_regs().unwrap();
        self.guest.executed(VECTOR, &regs).unwrap_or(0)
    }

    /// Takes the event back, if it still waits.
    pub fn take_event_back(&self) {
        let fd = self.vcpu.fd();
        fd.set_vcpu_events(&Default::default()).unwrap();
    }
}
