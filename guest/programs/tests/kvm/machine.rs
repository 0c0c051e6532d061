// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A VM with one vCPU, and the ways to interrupt it.

use std::os::fd::AsRawFd;

use guest_programs::{Guest, Mode, SIZE};
use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_interrupt, kvm_regs, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// `_IOW(KVMIO, 0x86, struct kvm_interrupt)`, which kvm-ioctls does not have.
const KVM_INTERRUPT: libc::c_ulong = 0x4004_ae86;
/// Above the guest's memory, where KVM on older Intel processors needs three pages, and one.
const TSS_ADDRESS: usize = 0xfffb_d000;

/// How KVM_RUN returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// HLT.
    Halt,
    /// OUT.
    Out,
    /// A signal.
    Kick,
    /// KVM_EXIT_INTERNAL_ERROR: its emulator lacks something.
    InternalError,
}

/// What interrupts the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An external interrupt.
    Interrupt(u8),
    /// An NMI.
    Nmi,
    /// An exception, with an error code where the mode has one.
    Exception(u8, u32),
}

impl Event {
    pub fn vector(self) -> u8 {
        match self {
            Self::Interrupt(vector) | Self::Exception(vector, _) => vector,
            Self::Nmi => 2,
        }
    }

    /// The error code that `mode` pushes with it.
    pub fn error_code(self, mode: Mode) -> Option<u32> {
        match self {
            Self::Exception(_, code) => (mode != Mode::Real).then_some(code),
            Self::Interrupt(_) | Self::Nmi => None,
        }
    }
}

/// A VM without an interrupt controller, with a guest's memory and one vCPU.
pub struct Machine {
    // In this order: the vCPU and the VM go before the memory that they use.
    pub vcpu: VcpuFd,
    _vm: VmFd,
    pub memory: GuestMemoryMmap,
}

impl Machine {
    /// A machine with `guest` loaded, or `None`, after one line that says why, where there is no KVM.
    pub fn new(test: &str, guest: &Guest) -> Option<Self> {
        let kvm = match Kvm::new() {
            Ok(kvm) => kvm,
            Err(error) => {
                eprintln!("SKIPPED: guest-programs {test}: /dev/kvm cannot be opened: {error}");
                return None;
            }
        };
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), SIZE)]).unwrap();
        guest.load(&memory).unwrap();
        let vm = kvm.create_vm().unwrap();
        vm.set_tss_address(TSS_ADDRESS).unwrap();
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: SIZE as u64,
            userspace_addr: memory.get_host_address(GuestAddress(0)).unwrap() as u64,
        };
        // SAFETY: the memory is mapped, has this size, and goes after the VM.
        unsafe { vm.set_user_memory_region(region) }.unwrap();
        let vcpu = vm.create_vcpu(0).unwrap();
        let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).unwrap();
        vcpu.set_cpuid2(&cpuid).unwrap();
        Some(Self {
            vcpu,
            _vm: vm,
            memory,
        })
    }

    /// Enters the guest once.
    pub fn run(&mut self) -> Left {
        match self.vcpu.run() {
            Ok(VcpuExit::Hlt) => Left::Halt,
            Ok(VcpuExit::IoOut(guest_programs::PORT, _)) => Left::Out,
            Ok(VcpuExit::InternalError) => Left::InternalError,
            Ok(other) => panic!("{other:?}"),
            Err(error) if error.errno() == libc::EINTR => Left::Kick,
            Err(error) => panic!("KVM_RUN: {error}"),
        }
    }

    pub fn regs(&self) -> kvm_regs {
        self.vcpu.get_regs().unwrap()
    }

    /// Hands `event` to KVM.
    pub fn inject(&self, mode: Mode, event: Event) {
        match event {
            Event::Interrupt(vector) => self.interrupt(vector),
            Event::Nmi => self.vcpu.nmi().unwrap(),
            Event::Exception(vector, _) => {
                let code = event.error_code(mode);
                let mut events = self.vcpu.get_vcpu_events().unwrap();
                events.exception.injected = 1;
                events.exception.nr = vector;
                events.exception.has_error_code = u8::from(code.is_some());
                events.exception.error_code = code.unwrap_or(0);
                self.vcpu.set_vcpu_events(&events).unwrap();
            }
        }
    }

    fn interrupt(&self, vector: u8) {
        let interrupt = kvm_interrupt { irq: vector.into() };
        // SAFETY: the request reads one kvm_interrupt, which it gets.
        let ret = unsafe {
            libc::ioctl(
                self.vcpu.as_raw_fd(),
                KVM_INTERRUPT as _,
                &raw const interrupt,
            )
        };
        let error = std::io::Error::last_os_error();
        assert_eq!(ret, 0, "KVM_INTERRUPT: {error}");
    }
}
