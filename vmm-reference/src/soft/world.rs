// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The machine around a virtual processor with VMX in software.

use std::sync::Arc;

use nested_vmx::l0::Interrupts;
use nested_vmx::memory::L1Memory;
use nested_vmx::msrs::MsrFault;
use nested_vmx::soft::{Signals, World};

use super::alarm::Alarm;
use super::chipset::Chipset;
use super::l1_ram::L1Ram;

/// The machine.
pub struct SoftWorld {
    memory: L1Ram,
    controllers: Controllers,
    alarm: Alarm,
}

struct Controllers(Arc<Chipset>);

impl Interrupts for Controllers {
    fn pending(&self) -> Option<u8> {
        self.0.pending()
    }

    fn acknowledge(&mut self, vector: u8) {
        self.0.acknowledge(vector);
    }
}

impl SoftWorld {
    /// With this memory and these devices, whose timers set `alarm`.
    pub fn new(memory: L1Ram, chipset: Arc<Chipset>, alarm: Alarm) -> Self {
        Self {
            memory,
            controllers: Controllers(chipset),
            alarm,
        }
    }
}

impl World for SoftWorld {
    fn memory(&self) -> &dyn L1Memory {
        &self.memory
    }

    fn interrupts(&mut self) -> &mut dyn Interrupts {
        &mut self.controllers
    }

    fn poll(&mut self) -> Signals {
        let chipset = &self.controllers.0;
        let now = chipset.now();
        let (signals, deadline) = chipset.poll(now);
        self.alarm.set(deadline, now.nanoseconds);
        signals
    }

    fn wake_after(&mut self, nanoseconds: Option<u64>) {
        let chipset = &self.controllers.0;
        let now = chipset.now();
        let deadline = chipset.deadline(now);
        let wanted = nanoseconds.map(|wait| now.nanoseconds.saturating_add(wait));
        let first = [deadline, wanted].into_iter().flatten().min();
        self.alarm.set(first, now.nanoseconds);
    }

    fn read_msr(&mut self, index: u32) -> Option<Result<u64, MsrFault>> {
        let read = self.controllers.0.read_msr(index);
        read.map(|result| result.map_err(|_| MsrFault(index)))
    }

    fn write_msr(&mut self, index: u32, value: u64) -> Option<Result<(), MsrFault>> {
        let written = self.controllers.0.write_msr(index, value);
        written.map(|result| result.map_err(|_| MsrFault(index)))
    }

    fn cr8(&self) -> u64 {
        self.controllers.0.cr8()
    }

    fn set_cr8(&mut self, value: u64) {
        self.controllers.0.set_cr8(value);
    }
}
