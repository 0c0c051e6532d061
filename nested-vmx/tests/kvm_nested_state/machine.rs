// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A virtual machine with one vCPU, which never runs.

use std::cell::Cell;

use kvm_bindings::{
    KVM_MAX_CPUID_ENTRIES, KVM_VCPUEVENT_VALID_SMM, kvm_userspace_memory_region, kvm_vcpu_events,
};
use kvm_ioctls::{Cap, VcpuFd, VmFd};
use nested_vmx::kvm::{KvmVcpu, Offered, VcpuPort};

use crate::host::Host;
use crate::memory::Memory;

pub struct Machine {
    pub vcpu: VcpuFd,
    pub memory: Memory,
    has_smm: bool,
    in_smm: Cell<bool>,
    // Behind the vCPU, so that it goes last.
    _vm: VmFd,
}

impl Machine {
    pub fn new(host: &Host) -> Self {
        let vm = host.kvm.create_vm().expect("a virtual machine");
        let memory = Memory::new();
        let region = kvm_userspace_memory_region {
            slot: 0,
            guest_phys_addr: 0,
            memory_size: Memory::SIZE as u64,
            userspace_addr: memory.host_address(),
            flags: 0,
        };
        // SAFETY: the memory lives as long as the process. The vCPU never runs: KVM reads and writes it
        // only in ioctls, and it is made of cells.
        unsafe { vm.set_user_memory_region(region) }.expect("memory");
        let vcpu = vm.create_vcpu(0).expect("a vCPU");
        let cpuid = host.kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES);
        vcpu.set_cpuid2(&cpuid.expect("CPUID")).expect("CPUID");
        Self {
            vcpu,
            memory,
            has_smm: host.kvm.check_extension(Cap::X86Smm),
            in_smm: Cell::new(false),
            _vm: vm,
        }
    }

    /// What the vCPU has of VMX.
    pub fn offered(&self) -> Offered {
        Offered::of_vcpu(&KvmVcpu(&self.vcpu)).expect("what the vCPU has")
    }

    /// Puts the vCPU into SMM, or takes it out.
    pub fn enter_smm(&self, in_smm: bool) {
        if self.in_smm.replace(in_smm) == in_smm {
            return;
        }
        assert!(self.has_smm, "KVM has no SMM");
        let mut events = kvm_vcpu_events {
            flags: KVM_VCPUEVENT_VALID_SMM,
            ..kvm_vcpu_events::default()
        };
        events.smi.smm = in_smm.into();
        let vcpu = KvmVcpu(&self.vcpu);
        vcpu.set_vcpu_events(&events).expect("SMM");
    }
}
