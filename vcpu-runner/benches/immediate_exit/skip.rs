// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The floor: a KVM_RUN that skips the guest. No entry can be had for less.

use std::time::Instant;

use vcpu_runner::{RunError, SkipFlag, Vcpu};

use crate::contender::{Contender, Entered, Subject};
use crate::guest::Machine;

pub struct Skip(Machine);

impl Skip {
    pub fn new() -> Self {
        Self(Machine::new())
    }
}

impl Contender for Skip {
    fn name(&self) -> &'static str {
        "skip (enters nothing)"
    }

    fn enter(&mut self, subject: Subject) -> Result<Entered, String> {
        let Self(machine) = self;
        machine.restart(subject);
        let flag = machine.vcpu.skip_flag();
        flag.set();
        let start = Instant::now();
        let ran = machine.vcpu.run();
        let time = start.elapsed();
        assert!(matches!(ran, Err(RunError::Interrupted)), "{ran:?}");
        flag.clear();
        let instructions = machine.executed();
        machine.take_event_back();
        Ok(Entered {
            instructions,
            time,
            missed: 0,
        })
    }
}
