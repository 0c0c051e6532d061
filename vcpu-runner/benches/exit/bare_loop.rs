// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The floor: KVM_RUN, and what an exit for port I/O says, read where KVM put it and taken at its
//! word.

use std::slice;

use kvm_bindings::{KVM_EXIT_IO, KVM_EXIT_IO_OUT};

use crate::bare::BareVcpu;
use crate::batch::{Batch, Contender};
use crate::guest::Machine;

pub struct BareLoop(BareVcpu);

impl BareLoop {
    pub fn new(machine: &Machine) -> Self {
        Self(BareVcpu::new(&machine.kvm, machine.vcpu(0)))
    }
}

impl Contender for BareLoop {
    fn name(&self) -> &'static str {
        "floor: bare KVM_RUN loop"
    }

    fn run(&mut self, mut batch: Batch) -> Batch {
        loop {
            assert!(self.0.run());
            let area = self.0.area();
            // SAFETY: the run area is mapped, and KVM writes it in KVM_RUN only.
            let reason = unsafe { (*area).exit_reason };
            assert_eq!(reason, KVM_EXIT_IO);
            // SAFETY: as above.
            let data = unsafe { (*area).__bindgen_anon_1 };
            // SAFETY: the exit is one for port I/O.
            let io = unsafe { data.io };
            assert_eq!(u32::from(io.direction), KVM_EXIT_IO_OUT);
            // SAFETY: KVM's offset is one within the run area.
            let data = unsafe { area.byte_add(io.data_offset as usize) };
            let len = usize::from(io.size) * io.count as usize;
            // SAFETY: as many bytes as KVM says are there, and nothing writes them until the next
            // KVM_RUN.
            let data = unsafe { slice::from_raw_parts(data.cast(), len) };
            if batch.exit(io.port, data) {
                return batch;
            }
        }
    }
}
