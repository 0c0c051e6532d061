// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A machine that runs the guest: memory, a VM and a vCPU, the thread that runs it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use guest_l1::scenario::VECTOR;
use guest_l1::storm::{self, Shared};
use guest_l1::{Mode, layout};
use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_regs, kvm_segment};
use kvm_ioctls::{Kvm, VcpuFd};
use vcpu_requests::requests;
use vcpu_runner::kvm::KvmVcpu;
use vcpu_runner::{Deadline, Exit, Flow, Handler, Runner, VcpuHandle, VcpuThread};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_reference::vcpu_setup::VcpuSetup;
use vmm_reference::vm::{InterruptControllers, Vm};

/// How long anything may take. Only what hangs takes so long.
pub const LIMIT: Duration = Duration::from_secs(60);

requests! {
    /// Nothing is asked but what the loop itself offers.
    pub enum Ask {
        /// Nothing.
        Nothing = 0,
    }
}

/// What the guest has printed.
pub type Output = Arc<Mutex<String>>;

/// The devices: a serial port, and the ports by which the guest ends the machine.
pub struct Devices {
    output: Output,
    /// The serial port's first two registers are the divisor now.
    divisor: bool,
}

const SERIAL: u16 = 0x3f8;
const LINE_CONTROL: u16 = 0x3fb;
/// The bit that makes the divisor visible.
const DIVISOR: u8 = 0x80;
const LINE_STATUS: u16 = 0x3fd;
/// The transmitter is empty.
const EMPTY: u8 = 0x60;
const KEYBOARD_CONTROLLER: u16 = 0x64;
const RESET: u8 = 0xfe;

impl Handler<KvmVcpu> for Devices {
    type Request = Ask;
    type Error = Infallible;

    fn exit(&mut self, exit: Exit<'_>) -> Result<Flow, Infallible> {
        match exit {
            Exit::IoOut {
                port: SERIAL, data, ..
            } if !self.divisor => {
                let text: String = data.iter().map(|byte| char::from(*byte)).collect();
                self.output.lock().unwrap().push_str(&text);
            }
            Exit::IoOut {
                port: LINE_CONTROL,
                data: &[value],
                ..
            } => self.divisor = value & DIVISOR != 0,
            Exit::IoOut {
                port: KEYBOARD_CONTROLLER,
                data,
                ..
            } if data == [RESET] => return Ok(Flow::Stop),
            Exit::IoIn {
                port: LINE_STATUS,
                data,
                ..
            } => data.fill(EMPTY),
            Exit::IoIn { data, .. } => data.fill(0xff),
            Exit::IoOut { .. } => {}
            Exit::IrqWindowOpen => return Ok(Flow::Inspect),
            other => {
                let text = format!("\nunexpected exit: {other:x?}\n");
                self.output.lock().unwrap().push_str(&text);
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::Continue)
    }

    /// The guest can take the interrupt for which a window was asked for.
    fn inspect(&mut self, vcpu: &mut KvmVcpu) -> Result<Flow, Infallible> {
        vcpu.request_interrupt_window(false);
        vcpu.interrupt(VECTOR).unwrap();
        Ok(Flow::Continue)
    }

    fn request(&mut self, Ask::Nothing: Ask, _: &mut KvmVcpu) -> Result<Flow, Infallible> {
        Ok(Flow::Continue)
    }
}

fn empty() -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), layout::MEMORY as usize)]).unwrap()
}

/// The guest's memory with the image in it.
pub fn memory(mode: Mode) -> GuestMemoryMmap {
    let memory = empty();
    let image = guest_l1::image(mode);
    memory
        .write_slice(&image, GuestAddress(layout::CODE))
        .unwrap();
    memory
}

/// A running guest.
pub struct Guest {
    pub vm: Vm,
    pub handle: VcpuHandle<KvmVcpu, Ask>,
    pub output: Output,
    thread: VcpuThread<KvmVcpu, Devices>,
}

impl Guest {
    /// Starts a guest in this memory. `set` gives the vCPU its state.
    pub fn start(
        kvm: &Kvm,
        memory: GuestMemoryMmap,
        interrupts: InterruptControllers,
        output: Output,
        set: impl FnOnce(&VcpuFd),
    ) -> Self {
        let vm = Vm::with_interrupts(kvm, memory, interrupts).unwrap();
        let vcpu = vm.create_vcpu(0).unwrap();
        set(&vcpu);
        let vcpu = KvmVcpu::new(kvm, vcpu).unwrap();
        let devices = Devices {
            output: output.clone(),
            divisor: false,
        };
        let thread = Runner::new(vcpu, devices).name("l1").spawn().unwrap();
        Self {
            vm,
            handle: thread.handle().clone(),
            output,
            thread,
        }
    }

    /// Calls `closure` on the vCPU's thread, between two entries.
    pub fn call<T: Send + 'static>(
        &self,
        closure: impl FnOnce(&mut KvmVcpu) -> T + Send + 'static,
    ) -> T {
        let answer = self.handle.call(Deadline::after(LIMIT), closure);
        answer.unwrap_or_else(|error| panic!("{error}\n{}", self.text()))
    }

    pub fn text(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// What L1 has counted.
    pub fn shared(&self) -> Shared {
        shared(self.vm.memory())
    }

    /// Stops the vCPU, which may be paused, and takes the machine apart. A copy of its memory is left.
    pub fn take_down(self) -> GuestMemoryMmap {
        self.handle.stop().unwrap();
        copy(&self.end())
    }

    /// Waits until the guest has ended the machine.
    pub fn end(self) -> GuestMemoryMmap {
        self.handle
            .wait(Deadline::after(LIMIT))
            .unwrap_or_else(|error| panic!("{error}\n{}", self.text()));
        self.thread.join().unwrap();
        self.vm.memory().clone()
    }
}

fn copy(memory: &GuestMemoryMmap) -> GuestMemoryMmap {
    let mut bytes = vec![0; layout::MEMORY as usize];
    memory.read_slice(&mut bytes, GuestAddress(0)).unwrap();
    let copy = empty();
    copy.write_slice(&bytes, GuestAddress(0)).unwrap();
    copy
}

/// What L1 has counted in this memory.
pub fn shared(memory: &GuestMemoryMmap) -> Shared {
    let mut bytes = [0; storm::SIZE];
    memory
        .read_slice(&mut bytes, GuestAddress(storm::ADDRESS))
        .unwrap();
    Shared::from_bytes(&bytes)
}

/// The state in which a loader of PVH kernels enters one: 32-bit protected mode, flat.
pub fn enter(kvm: &Kvm, interrupts: InterruptControllers, vcpu: &VcpuFd) {
    match interrupts {
        // Without a local APIC.
        InterruptControllers::Vmm => {
            let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).unwrap();
            vcpu.set_cpuid2(&cpuid).unwrap();
        }
        _ => VcpuSetup::new(kvm).unwrap().apply(vcpu, 0, 1).unwrap(),
    }
    begin(vcpu);
}

/// The registers of that state.
pub fn begin(vcpu: &VcpuFd) {
    let mut sregs = vcpu.get_sregs().unwrap();
    let data = kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector: 0x10,
        type_: 3,
        present: 1,
        dpl: 0,
        db: 1,
        s: 1,
        l: 0,
        g: 1,
        ..Default::default()
    };
    sregs.cs = kvm_segment {
        selector: 0x08,
        type_: 11,
        ..data
    };
    (sregs.ds, sregs.es, sregs.ss, sregs.fs, sregs.gs) = (data, data, data, data, data);
    sregs.cr0 = 0x11;
    vcpu.set_sregs(&sregs).unwrap();
    let regs = kvm_regs {
        rip: layout::CODE,
        rflags: 2,
        ..Default::default()
    };
    vcpu.set_regs(&regs).unwrap();
}
