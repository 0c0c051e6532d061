// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The reference VMM's machine with VMX in software, and `guest/l1` in it.

use std::sync::{Arc, Mutex};

use guest_l1::Mode;
use guest_l1::storm::{self, Shared};
use kvm_ioctls::Kvm;
use nested_vmx::soft::{Catch, Entering, SoftStatistics, SoftVcpu};
use vcpu_runner::{Deadline, Runner, VcpuThread};
use vm_device::DevicePio;
use vm_device::bus::{PioAddress, PioAddressOffset};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_reference::devices::{I8042, PortBus};
use vmm_reference::outcome::{FirstOutcome, Outcome};
use vmm_reference::soft::{Chipset, SoftMachine, SoftWorld};
use vmm_reference::vcpu_handler::VcpuHandler;
use vmm_reference::vm::Vm;

use super::guest::{LIMIT, begin, memory, shared};

/// The keyboard controller's command port, by which the guest ends the machine.
const KEYBOARD_CONTROLLER: u16 = 0x64;

const SERIAL: u16 = 0x3f8;
const SERIAL_PORTS: u16 = 8;
/// The offset of the line control register, and its bit that makes the divisor visible.
const LINE_CONTROL: u16 = 3;
const DIVISOR: u8 = 0x80;

/// A serial port that keeps what is written.
#[derive(Default)]
pub struct Printed(Mutex<(String, u8)>);

impl Printed {
    pub fn text(&self) -> String {
        self.0.lock().unwrap().0.clone()
    }
}

impl DevicePio for Printed {
    fn pio_read(&self, _: PioAddress, _: PioAddressOffset, data: &mut [u8]) {
        // There is room, always.
        data.fill(0x60);
    }

    fn pio_write(&self, _: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        let (text, control) = &mut *self.0.lock().unwrap();
        match offset {
            LINE_CONTROL => *control = data[0],
            0 if *control & DIVISOR == 0 => text.extend(data.iter().map(|byte| char::from(*byte))),
            _ => {}
        }
    }
}

/// A running L1.
pub struct SoftL1 {
    pub memory: GuestMemoryMmap,
    pub chipset: Arc<Chipset>,
    pub thread: VcpuThread<SoftVcpu<SoftWorld>, VcpuHandler>,
    pub first: Arc<FirstOutcome>,
    pub printed: Arc<Printed>,
    /// It goes when the vCPUs have gone.
    vm: Vm,
}

impl SoftL1 {
    pub fn start(kvm: &Kvm, mode: Mode, catch: Option<Catch>, entering: Entering) -> Self {
        let memory = memory(mode);
        let machine = SoftMachine::new(kvm, memory.clone(), catch, |vcpu| {
            begin(vcpu);
            Ok(())
        });
        let SoftMachine {
            vcpu, chipset, vm, ..
        } = machine.unwrap();
        let first = Arc::new(FirstOutcome::new().unwrap());
        let reporting = first.clone();
        let keyboard = I8042::new(move || reporting.report(Outcome::Reset));
        let mut ports = PortBus::new();
        ports
            .register(KEYBOARD_CONTROLLER, 1, Arc::new(keyboard))
            .unwrap();
        let printed = Arc::new(Printed::default());
        ports
            .register(SERIAL, SERIAL_PORTS, printed.clone())
            .unwrap();
        let handler = VcpuHandler::new(0, Arc::new(ports), memory.clone(), first.clone())
            .with_chipset(chipset.clone());
        let vcpu = vcpu.entering(entering);
        let thread = Runner::new(vcpu, handler).name("l1").spawn().unwrap();
        Self {
            memory,
            chipset,
            thread,
            first,
            printed,
            vm,
        }
    }

    /// Where the vCPU is, at two moments: for somebody who has to find out why it does not go on.
    pub fn tell(&self) -> String {
        let mut told = String::new();
        for _ in 0..2 {
            let closure = |vcpu: &mut SoftVcpu<SoftWorld>| {
                let fd = vcpu.running().fd();
                format!("{vcpu:?} {:x?} {:?}", fd.get_regs(), fd.get_vcpu_events())
            };
            match self.thread.handle().call(Deadline::after(LIMIT), closure) {
                Ok(state) => told.push_str(&state),
                Err(error) => told.push_str(&error.to_string()),
            }
            told.push('\n');
        }
        told
    }

    /// Tells L1 to come to its end, and waits for it.
    pub fn end(self) -> (Shared, SoftStatistics) {
        let stop = GuestAddress(storm::STOP);
        self.memory.write_obj(1u64, stop).unwrap();
        self.thread
            .handle()
            .wait(Deadline::after(LIMIT))
            .unwrap_or_else(|error| panic!("{error}: {:x?}", shared(&self.memory)));
        let ended = self.thread.join().unwrap();
        let statistics = ended.vcpu.statistics();
        drop(ended);
        drop(self.vm);
        (shared(&self.memory), statistics)
    }
}
