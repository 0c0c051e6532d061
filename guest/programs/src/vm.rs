// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A virtual machine with a guest in its memory.

use std::sync::Arc;

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{Kvm, VmFd};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use crate::error::{self, Error};
use crate::guest::Guest;
use crate::layout::SIZE;

/// Above the guest's memory, where KVM on older Intel processors needs three pages.
const TSS_ADDRESS: usize = 0xfffb_d000;

/// A virtual machine without vCPUs and without an interrupt controller.
#[derive(Debug)]
pub struct GuestVm {
    // In this order: KVM lets go of the memory before it goes.
    vm: VmFd,
    memory: Arc<GuestMemoryMmap>,
}

impl GuestVm {
    /// One with `guest` in its memory.
    ///
    /// # Errors
    ///
    /// There is no memory, or KVM refuses to make the machine.
    pub fn new(kvm: &Kvm, guest: &Guest) -> Result<Self, Error> {
        let memory =
            GuestMemoryMmap::from_ranges(&[(GuestAddress(0), SIZE)]).map_err(Error::Map)?;
        guest.load(&memory)?;
        let host = memory
            .get_host_address(GuestAddress(0))
            .map_err(error::memory(0))?;
        let vm = kvm.create_vm().map_err(error::ioctl("KVM_CREATE_VM"))?;
        vm.set_tss_address(TSS_ADDRESS)
            .map_err(error::ioctl("KVM_SET_TSS_ADDR"))?;
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: SIZE as u64,
            userspace_addr: host as u64,
        };
        // SAFETY: the memory is mapped, has this size, and goes after the VM. KVM finds it gone, which
        // it copes with, where a vCPU keeps the machine in the kernel for longer.
        unsafe { vm.set_user_memory_region(region) }
            .map_err(error::ioctl("KVM_SET_USER_MEMORY_REGION"))?;
        Ok(Self {
            vm,
            memory: Arc::new(memory),
        })
    }

    /// The machine's file descriptor, to make vCPUs and an interrupt controller with.
    pub fn fd(&self) -> &VmFd {
        &self.vm
    }

    /// The guest's memory.
    pub fn memory(&self) -> &Arc<GuestMemoryMmap> {
        &self.memory
    }
}
