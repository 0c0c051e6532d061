// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! This crate.

use vcpu_requests::requests;
use vcpu_runner::kvm::KvmVcpu;
use vcpu_runner::{Exit, Flow, Handler, Runner};

use crate::batch::{Batch, Contender};
use crate::guest::Machine;

requests! {
    /// What could be asked.
    pub enum Ask {
        /// It never is.
        Nothing = 0,
    }
}

/// Counts exits.
struct Counter(Batch);

impl Handler<KvmVcpu> for Counter {
    type Request = Ask;
    type Error = String;

    fn exit(&mut self, exit: Exit<'_>) -> Result<Flow, String> {
        match exit {
            Exit::IoOut { port, data, .. } => Ok(match self.0.exit(port, data) {
                true => Flow::Stop,
                false => Flow::Continue,
            }),
            other => Err(format!("{other:?}")),
        }
    }

    fn request(&mut self, _: Ask, _: &mut KvmVcpu) -> Result<Flow, String> {
        Ok(Flow::Continue)
    }
}

/// A vCPU that a [`Runner`] runs.
pub struct Crate(Option<KvmVcpu>);

impl Crate {
    pub fn new(machine: &Machine) -> Self {
        let vcpu = KvmVcpu::new(&machine.kvm, machine.vcpu(2)).unwrap();
        Self(Some(vcpu))
    }
}

impl Contender for Crate {
    fn name(&self) -> &'static str {
        "vcpu-runner"
    }

    fn run(&mut self, batch: Batch) -> Batch {
        let ended = Runner::new(self.0.take().unwrap(), Counter(batch)).run();
        self.0 = Some(ended.vcpu);
        ended.handler.0
    }
}
