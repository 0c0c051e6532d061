// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The virtual machine as KVM has it: memory, interrupt controllers, timer, vCPUs.

use kvm_bindings::{KVM_PIT_SPEAKER_DUMMY, kvm_pit_config, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use thiserror::Error;
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};
use vmm_sys_util::errno;
use vmm_sys_util::eventfd::EventFd;

use crate::layout;

/// KVM refused something.
#[derive(Debug, Error)]
#[error("{ioctl} failed: {source}")]
pub struct VmError {
    /// The ioctl's name.
    pub ioctl: &'static str,
    /// Its error.
    pub source: errno::Error,
}

/// To name the ioctl in the error.
pub(crate) fn ioctl(ioctl: &'static str) -> impl Fn(errno::Error) -> VmError {
    move |source| VmError { ioctl, source }
}

/// A virtual machine. KVM emulates its PICs, I/O APIC, local APICs and PIT.
#[derive(Debug)]
pub struct Vm {
    // The VM goes before the memory that it uses.
    fd: VmFd,
    memory: GuestMemoryMmap,
}

impl Vm {
    /// Makes a VM with this memory and without vCPUs.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn new(kvm: &Kvm, memory: GuestMemoryMmap) -> Result<Self, VmError> {
        let fd = kvm.create_vm().map_err(ioctl("KVM_CREATE_VM"))?;
        // Both must be set before there are vCPUs. Only old Intel processors need them.
        fd.set_identity_map_address(layout::KVM_IDENTITY_MAP)
            .map_err(ioctl("KVM_SET_IDENTITY_MAP_ADDR"))?;
        fd.set_tss_address(layout::KVM_TSS as usize)
            .map_err(ioctl("KVM_SET_TSS_ADDR"))?;
        fd.create_irq_chip().map_err(ioctl("KVM_CREATE_IRQCHIP"))?;
        let pit = kvm_pit_config {
            // Port 0x61 too, by which guests wait for the timer to calibrate others.
            flags: KVM_PIT_SPEAKER_DUMMY,
            ..Default::default()
        };
        fd.create_pit2(pit).map_err(ioctl("KVM_CREATE_PIT2"))?;
        for (region, slot) in memory.iter().zip(0..) {
            let region = kvm_userspace_memory_region {
                slot,
                guest_phys_addr: region.start_addr().raw_value(),
                memory_size: region.len(),
                userspace_addr: region.as_ptr() as u64,
                flags: 0,
            };
            // SAFETY: the region is mapped and has this size. It stays mapped while the VM is
            // there: this struct drops the VM first, and each vCPU's handler holds the memory too.
            unsafe { fd.set_user_memory_region(region) }
                .map_err(ioctl("KVM_SET_USER_MEMORY_REGION"))?;
        }
        Ok(Self { fd, memory })
    }

    /// The guest's memory.
    pub fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    /// Makes vCPU `index`. All but the first wait until the guest starts them.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn create_vcpu(&self, index: u8) -> Result<VcpuFd, VmError> {
        self.fd
            .create_vcpu(index.into())
            .map_err(ioctl("KVM_CREATE_VCPU"))
    }

    /// A write to `event` is an edge on interrupt line `line`.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn connect_interrupt(&self, event: &EventFd, line: u32) -> Result<(), VmError> {
        self.fd
            .register_irqfd(event, line)
            .map_err(ioctl("KVM_IRQFD"))
    }
}
