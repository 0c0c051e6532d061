// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The VM in which L2s with EPT run: without memory of its own, it is shown pages of L1's.

use std::io;

use kvm_bindings::{KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use nested_vmx::soft::L2Memory;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use crate::layout;
use crate::vm::{VmError, ioctl};

/// The VM.
#[derive(Debug)]
pub struct L2Vm {
    // The VM goes before the memory that it uses.
    fd: VmFd,
    memory: GuestMemoryMmap,
    slots: u32,
    has_read_only: bool,
}

impl L2Vm {
    /// Makes the VM, for pages of this memory.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn new(kvm: &Kvm, memory: GuestMemoryMmap) -> Result<Self, VmError> {
        let fd = kvm.create_vm().map_err(ioctl("KVM_CREATE_VM"))?;
        fd.set_identity_map_address(layout::KVM_IDENTITY_MAP)
            .map_err(ioctl("KVM_SET_IDENTITY_MAP_ADDR"))?;
        fd.set_tss_address(layout::KVM_TSS as usize)
            .map_err(ioctl("KVM_SET_TSS_ADDR"))?;
        Ok(Self {
            fd,
            memory,
            slots: u32::try_from(kvm.get_nr_memslots()).unwrap_or(u32::MAX),
            has_read_only: kvm.check_extension(kvm_ioctls::Cap::ReadonlyMem),
        })
    }

    /// Makes its one vCPU.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn create_vcpu(&self) -> Result<VcpuFd, VmError> {
        self.fd.create_vcpu(0).map_err(ioctl("KVM_CREATE_VCPU"))
    }

    fn set(&self, region: kvm_userspace_memory_region) -> io::Result<()> {
        // SAFETY: the region is empty, or part of the guest's memory, as `map` has checked. That
        // stays mapped while the VM is there: this struct drops the VM first, and whoever has the
        // vCPU has this struct.
        unsafe { self.fd.set_user_memory_region(region) }
            .map_err(|error| io::Error::from_raw_os_error(error.errno()))
    }
}

impl L2Memory for L2Vm {
    fn slots(&self) -> u32 {
        self.slots
    }

    fn map(
        &mut self,
        slot: u32,
        guest_physical: u64,
        l1_physical: u64,
        length: u64,
        writable: bool,
    ) -> io::Result<bool> {
        let Ok(count) = usize::try_from(length) else {
            return Ok(false);
        };
        // One piece of one region: what lies next to each other for L1 need not for the VMM.
        let start = GuestAddress(l1_physical);
        let Ok(slice) = self.memory.get_slice(start, count) else {
            return Ok(false);
        };
        let flags = match writable || !self.has_read_only {
            true => 0,
            false => KVM_MEM_READONLY,
        };
        let set = self.set(kvm_userspace_memory_region {
            slot,
            guest_phys_addr: guest_physical,
            memory_size: length,
            userspace_addr: slice.ptr_guard_mut().as_ptr() as u64,
            flags,
        });
        match set {
            // Pages of KVM's own, on processors that need them.
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
            set => set.map(|()| true),
        }
    }

    fn unmap(&mut self, slot: u32) -> io::Result<()> {
        self.set(kvm_userspace_memory_region {
            slot,
            ..Default::default()
        })
    }
}
