// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A VM with one vCPU, and the ways to interrupt it.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use guest_programs::{Guest, GuestVm, Mode};
use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_interrupt, kvm_regs};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};
use vm_memory::GuestMemoryMmap;

/// `_IOW(KVMIO, 0x86, struct kvm_interrupt)`, which kvm-ioctls does not have.
const KVM_INTERRUPT: libc::c_ulong = 0x4004_ae86;

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
    // In this order: the vCPU goes before the memory that it uses.
    pub vcpu: VcpuFd,
    _vm: GuestVm,
    pub memory: Arc<GuestMemoryMmap>,
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
        let vm = GuestVm::new(&kvm, guest).unwrap();
        let vcpu = vm.fd().create_vcpu(0).unwrap();
        let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).unwrap();
        vcpu.set_cpuid2(&cpuid).unwrap();
        Some(Self {
            vcpu,
            memory: Arc::clone(vm.memory()),
            _vm: vm,
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
