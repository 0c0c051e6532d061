// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest of all contenders.

use std::sync::Arc;

use guest_programs::{Guest, Handlers, Mode, Program, SIZE};
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{Kvm, VmFd};
use vcpu_runner::kvm::KvmVcpu;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use crate::contender::Subject;

/// Above the guest's memory, where KVM on older Intel processors needs three pages.
const TSS_ADDRESS: usize = 0xfffb_d000;
const VECTOR: u8 = 0x40;

/// A machine with one vCPU, without an interrupt controller in the kernel.
pub struct Machine {
    pub vcpu: KvmVcpu,
    guest: Guest,
    _vm: VmFd,
    // Behind the vCPU and the VM, so that it goes last.
    pub memory: Arc<GuestMemoryMmap>,
}

impl Machine {
    pub fn new() -> Self {
        let kvm = Kvm::new().unwrap();
        let vm = kvm.create_vm().unwrap();
        vm.set_tss_address(TSS_ADDRESS).unwrap();
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), SIZE)]).unwrap();
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: SIZE as u64,
            userspace_addr: memory.get_host_address(GuestAddress(0)).unwrap() as u64,
        };
        // SAFETY: the memory is the machine's, which goes last.
        unsafe { vm.set_user_memory_region(region) }.unwrap();
        let guest = Guest::new(Mode::Long, Handlers::Endless, false);
        guest.load(&memory).unwrap();
        let fd = vm.create_vcpu(0).unwrap();
        guest.set_up(&fd, Program::Spin).unwrap();
        Self {
            vcpu: KvmVcpu::new(&kvm, fd).unwrap(),
            guest,
            _vm: vm,
            memory: Arc::new(memory),
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
