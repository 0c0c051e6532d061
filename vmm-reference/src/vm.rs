// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The virtual machine as KVM has it: memory, interrupt controllers, timer, vCPUs.

use kvm_bindings::{
    KVM_CAP_DISABLE_QUIRKS2, KVM_CAP_SPLIT_IRQCHIP, KVM_PIT_SPEAKER_DUMMY,
    KVM_X86_QUIRK_FIX_HYPERCALL_INSN, kvm_enable_cap, kvm_msi, kvm_pit_config,
    kvm_userspace_memory_region,
};
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

/// Who emulates the interrupt controllers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InterruptControllers {
    /// KVM has the PICs, the I/O APIC and the PIT too.
    #[default]
    Kernel,
    /// KVM has the local APICs, the VMM the PICs and the I/O APIC (KVM_CAP_SPLIT_IRQCHIP). There is
    /// no PIT.
    Split,
    /// The VMM has all of them. There is no PIT.
    Vmm,
}

/// How many interrupt lines the I/O APIC of a VMM may have.
const SPLIT_LINES: u64 = 24;

/// A virtual machine.
#[derive(Debug)]
pub struct Vm {
    // The VM goes before the memory that it uses.
    fd: VmFd,
    memory: GuestMemoryMmap,
}

impl Vm {
    /// Makes a VM with this memory and without vCPUs. KVM emulates its interrupt controllers.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn new(kvm: &Kvm, memory: GuestMemoryMmap) -> Result<Self, VmError> {
        Self::with_interrupts(kvm, memory, InterruptControllers::Kernel)
    }

    /// As [`Self::new`], with these interrupt controllers.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn with_interrupts(
        kvm: &Kvm,
        memory: GuestMemoryMmap,
        interrupts: InterruptControllers,
    ) -> Result<Self, VmError> {
        let fd = kvm.create_vm().map_err(ioctl("KVM_CREATE_VM"))?;
        // Both must be set before there are vCPUs. Only old Intel processors need them.
        fd.set_identity_map_address(layout::KVM_IDENTITY_MAP)
            .map_err(ioctl("KVM_SET_IDENTITY_MAP_ADDR"))?;
        fd.set_tss_address(layout::KVM_TSS as usize)
            .map_err(ioctl("KVM_SET_TSS_ADDR"))?;
        match interrupts {
            InterruptControllers::Kernel => create_interrupt_controllers(&fd)?,
            InterruptControllers::Vmm => {}
            InterruptControllers::Split => enable(&fd, KVM_CAP_SPLIT_IRQCHIP, SPLIT_LINES)
                .map_err(ioctl("KVM_ENABLE_CAP of KVM_CAP_SPLIT_IRQCHIP"))?,
        }
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

    /// Has KVM leave the guest's VMCALL and VMMCALL alone, where it can (Linux 5.19): else it writes that
    /// one of them over the other which the host's processor has (`api.rst`, KVM_CAP_DISABLE_QUIRKS2,
    /// at KVM_X86_QUIRK_FIX_HYPERCALL_INSN). To be called before there are vCPUs. Says whether it can.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn keep_hypercalls(&self) -> Result<bool, VmError> {
        let quirks = self.fd.check_extension_raw(KVM_CAP_DISABLE_QUIRKS2.into());
        let quirk = KVM_X86_QUIRK_FIX_HYPERCALL_INSN;
        if u32::try_from(quirks).unwrap_or(0) & quirk == 0 {
            return Ok(false);
        }
        enable(&self.fd, KVM_CAP_DISABLE_QUIRKS2, quirk.into())
            .map_err(ioctl("KVM_ENABLE_CAP of KVM_CAP_DISABLE_QUIRKS2"))?;
        Ok(true)
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

    /// Delivers a message-signalled interrupt: what a device writes, to which address. Returns whether
    /// a local APIC took it.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn signal_msi(&self, address: u64, data: u32) -> Result<bool, VmError> {
        let message = kvm_msi {
            address_lo: address as u32,
            address_hi: (address >> 32) as u32,
            data,
            ..Default::default()
        };
        let taken = self
            .fd
            .signal_msi(message)
            .map_err(ioctl("KVM_SIGNAL_MSI"))?;
        Ok(taken > 0)
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

/// KVM_ENABLE_CAP of a capability that has one argument.
fn enable(fd: &VmFd, cap: u32, argument: u64) -> Result<(), kvm_ioctls::Error> {
    let mut wanted = kvm_enable_cap {
        cap,
        ..Default::default()
    };
    wanted.args[0] = argument;
    fd.enable_cap(&wanted)
}

/// The PICs, the I/O APIC and the PIT.
fn create_interrupt_controllers(fd: &VmFd) -> Result<(), VmError> {
    fd.create_irq_chip().map_err(ioctl("KVM_CREATE_IRQCHIP"))?;
    let pit = kvm_pit_config {
        // Port 0x61 too, by which guests wait for the timer to calibrate others.
        flags: KVM_PIT_SPEAKER_DUMMY,
        ..Default::default()
    };
    fd.create_pit2(pit).map_err(ioctl("KVM_CREATE_PIT2"))
}
