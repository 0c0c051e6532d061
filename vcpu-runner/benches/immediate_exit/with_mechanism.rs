// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! An immediate exit with one of the mechanisms and no other.

use std::sync::Arc;
use std::time::Instant;

use vcpu_runner::kvm::immediate_exit::{ImmediateExitSetUp, Mechanism, MechanismOrder, Pic};
use vcpu_runner::{BriefError, BriefRun, NotEntered, Vcpu};

use crate::contender::{Contender, Entered, Subject};
use crate::guest::Machine;

pub struct WithMechanism {
    machine: Machine,
    mechanism: Mechanism,
}

impl WithMechanism {
    pub fn new(mechanism: Mechanism) -> Self {
        let mut machine = Machine::new();
        let ram = Arc::clone(&machine.memory);
        let set_up = ImmediateExitSetUp::new(MechanismOrder::only(mechanism), ram);
        let set_up = set_up.pic(Pic::InUserspace);
        machine.vcpu.set_up_immediate_exit(set_up).unwrap();
        Self { machine, mechanism }
    }
}

impl Contender for WithMechanism {
    fn name(&self) -> &'static str {
        self.mechanism.name()
    }

    fn enter(&mut self, subject: Subject) -> Result<Entered, String> {
        self.machine.restart(subject);
        let start = Instant::now();
        let result = self.machine.vcpu.run_briefly();
        let time = start.elapsed();
        let missed = match result {
            Ok(BriefRun::Entered { report, exit: None }) => report.attempts - 1,
            Err(BriefError::NotEntered(NotEntered::NoMechanism { reasons })) => {
                self.machine.take_event_back();
                return Err(reasons);
            }
            other => panic!("{}: {other:?}", self.mechanism),
        };
        Ok(Entered {
            instructions: self.machine.executed(),
            time,
            missed,
        })
    }
}
