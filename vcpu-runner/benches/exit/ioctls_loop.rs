// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The peer: kvm-ioctls.

use kvm_ioctls::{VcpuExit, VcpuFd};

use crate::batch::{Batch, Contender};
use crate::guest::Machine;

pub struct IoctlsLoop(VcpuFd);

impl IoctlsLoop {
    pub fn new(machine: &Machine) -> Self {
        Self(machine.vcpu(1))
    }
}

impl Contender for IoctlsLoop {
    fn name(&self) -> &'static str {
        "peer: kvm-ioctls, VcpuFd::run"
    }

    fn run(&mut self, mut batch: Batch) -> Batch {
        loop {
            match self.0.run().unwrap() {
                VcpuExit::IoOut(port, data) => {
                    if batch.exit(port, data) {
                        return batch;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
