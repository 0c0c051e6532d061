// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A machine for one of the guest programs, without an interrupt controller in the kernel.

use std::sync::Arc;

use guest_programs::{Guest, GuestVm, Handlers, Mode, Program};
use kvm_bindings::{
    KVM_MP_STATE_RUNNABLE, KVM_VCPUEVENT_VALID_NMI_PENDING, KVM_VCPUEVENT_VALID_SHADOW,
    kvm_mp_state, kvm_vcpu_events,
};
use kvm_ioctls::{Kvm, VmFd};
use vcpu_runner::kvm::KvmVcpu;
use vcpu_runner::kvm::immediate_exit::{ImmediateExitSetUp, MechanismOrder, Pic};
use vm_memory::GuestMemoryMmap;

/// What is injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// KVM_INTERRUPT with this vector.
    Interrupt(u8),
    /// KVM_NMI.
    Nmi,
    /// An exception of this vector.
    Exception(u8),
}

impl Event {
    /// The vector that it is delivered through.
    pub fn vector(self) -> u8 {
        match self {
            Self::Interrupt(vector) | Self::Exception(vector) => vector,
            Self::Nmi => 2,
        }
    }
}

/// KVM, or `None` after one line that says why there is none.
pub fn kvm(test: &str) -> Option<Kvm> {
    match Kvm::new() {
        Ok(kvm) => Some(kvm),
        Err(error) => {
            eprintln!("SKIPPED: vcpu-runner {test}: /dev/kvm cannot be opened: {error}");
            None
        }
    }
}

/// A virtual machine with a guest program in it.
pub struct Machine {
    pub kvm: Kvm,
    vm: GuestVm,
    pub guest: Guest,
    pub memory: Arc<GuestMemoryMmap>,
}

impl Machine {
    /// `None` where there is no KVM.
    pub fn new(test: &str, mode: Mode, handlers: Handlers, ist: bool) -> Option<Self> {
        Some(Self::of(kvm(test)?, Guest::new(mode, handlers, ist)))
    }

    /// One with KVM's interrupt controller, in long mode.
    pub fn with_irqchip(kvm: Kvm) -> Self {
        let this = Self::of(kvm, Guest::new(Mode::Long, Handlers::Short, false));
        this.vm().create_irq_chip().unwrap();
        this
    }

    fn of(kvm: Kvm, guest: Guest) -> Self {
        let vm = GuestVm::new(&kvm, &guest).unwrap();
        Self {
            kvm,
            guest,
            memory: Arc::clone(vm.memory()),
            vm,
        }
    }

    pub fn vm(&self) -> &VmFd {
        self.vm.fd()
    }

    /// Its vCPU `index`, about to run `program`, with these mechanisms.
    pub fn vcpu(&self, index: u64, program: Program, order: MechanismOrder) -> KvmVcpu {
        self.vcpu_with(index, program, order, |set_up| set_up)
    }

    /// The same, with something else set up.
    pub fn vcpu_with(
        &self,
        index: u64,
        program: Program,
        order: MechanismOrder,
        change: impl FnOnce(ImmediateExitSetUp) -> ImmediateExitSetUp,
    ) -> KvmVcpu {
        let fd = self.vm().create_vcpu(index).unwrap();
        self.guest.set_up(&fd, program).unwrap();
        let mut vcpu = KvmVcpu::new(&self.kvm, fd).unwrap();
        let memory = Arc::clone(&self.memory);
        let set_up = ImmediateExitSetUp::new(order, memory).pic(Pic::InUserspace);
        vcpu.set_up_immediate_exit(change(set_up)).unwrap();
        vcpu
    }

    /// Puts the vCPU back to the beginning of `program`, with nothing pending and nothing counted.
    pub fn restart(&self, vcpu: &KvmVcpu, program: Program) {
        self.guest.clear(&self.memory).unwrap();
        self.guest.reset(vcpu.fd(), program).unwrap();
        let events = kvm_vcpu_events {
            flags: KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
            ..Default::default()
        };
        vcpu.fd().set_vcpu_events(&events).unwrap();
        let mp_state = KVM_MP_STATE_RUNNABLE;
        vcpu.fd().set_mp_state(kvm_mp_state { mp_state }).unwrap();
    }

    /// Makes `event` wait for the next entry.
    pub fn inject(&self, vcpu: &KvmVcpu, event: Event) {
        match event {
            Event::Interrupt(vector) => vcpu.interrupt(vector).unwrap(),
            Event::Nmi => vcpu.fd().nmi().unwrap(),
            Event::Exception(vector) => {
                let mut events = vcpu.fd().get_vcpu_events().unwrap();
                events.exception.injected = 1;
                events.exception.nr = vector;
                let error_code = self.guest.pushes_error_code(vector);
                events.exception.has_error_code = error_code.into();
                events.exception.error_code = if error_code { 0x18 } else { 0 };
                vcpu.fd().set_vcpu_events(&events).unwrap();
            }
        }
    }
}
