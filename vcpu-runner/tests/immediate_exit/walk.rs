// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A random walk of one vCPU, on one thread: entries that are usual, brief or skipped, events, and the
//! wish for an interrupt window. Whenever the guest halts, all that was injected has been counted, and it
//! halts where its program does.

use std::collections::VecDeque;

use guest_programs::{Handlers, Mode, Program};
use kvm_ioctls::Kvm;
use vcpu_runner::kvm::KvmVcpu;
use vcpu_runner::kvm::immediate_exit::{HostMechanisms, Mechanism, MechanismOrder};
use vcpu_runner::{BriefRun, Exit, RunError, SkipFlag, Vcpu};

use crate::irregular::Irregular;
use crate::machine::{Event, Machine, kvm};

const STEPS: u32 = 10_000;
/// What to tell when it goes wrong.
const REMEMBERED: usize = 30;
const EXCEPTION: u8 = 5;
const INTERRUPT: u8 = 0x21;
const RFLAGS_IF: u64 = 1 << 9;

struct Walk {
    machine: Machine,
    vcpu: KvmVcpu,
    injected: [u32; 2],
    wants_window: bool,
    steps: VecDeque<String>,
}

impl Walk {
    fn new(test: &str, order: MechanismOrder) -> Option<Self> {
        let machine = Machine::new(test, Mode::Long, Handlers::Short, false)?;
        let vcpu = machine.vcpu(0, Program::Halt, order);
        Some(Self {
            machine,
            vcpu,
            injected: [0; 2],
            wants_window: false,
            steps: VecDeque::new(),
        })
    }

    fn counted(&self) -> [u32; 2] {
        let count = |vector| self.machine.guest.count(&self.machine.memory, vector);
        [EXCEPTION, INTERRUPT].map(|vector| count(vector).unwrap())
    }

    /// Whether the guest can take one more event, and an interrupt.
    fn takes(&self) -> (bool, bool) {
        let events = self.vcpu.fd().get_vcpu_events().unwrap();
        let waits = [
            events.exception.injected,
            events.interrupt.injected,
            events.interrupt.shadow,
        ];
        let free = waits == [0; 3] && self.counted() == self.injected;
        let flags = self.vcpu.fd().get_regs().unwrap().rflags;
        (free, free && flags & RFLAGS_IF != 0)
    }

    fn step(&mut self, irregular: &mut Irregular) {
        let (any, interrupt) = self.takes();
        let done = match irregular.below(6) {
            0 if any => {
                self.machine.inject(&self.vcpu, Event::Exception(EXCEPTION));
                self.injected[0] += 1;
                "exception".to_owned()
            }
            1 if interrupt => {
                self.machine.inject(&self.vcpu, Event::Interrupt(INTERRUPT));
                self.injected[1] += 1;
                "interrupt".to_owned()
            }
            2 => {
                let flag = self.vcpu.skip_flag();
                flag.set();
                assert_eq!(self.vcpu.run(), Err(RunError::Interrupted));
                flag.clear();
                "skip".to_owned()
            }
            3 => {
                self.wants_window = !self.wants_window;
                self.vcpu.request_interrupt_window(self.wants_window);
                format!("window {}", self.wants_window)
            }
            4 => match self.vcpu.run_briefly() {
                Ok(BriefRun::Entered { report, exit }) => {
                    let halted = exit == Some(Exit::Hlt);
                    let done = format!("{report:?}, {exit:?}");
                    self.check_if(halted, &done);
                    done
                }
                // The window that the walk wants may be open before.
                Ok(BriefRun::Before(Exit::IrqWindowOpen)) if self.wants_window => {
                    "window first".to_owned()
                }
                other => panic!("{other:?} after {:#?}", self.steps),
            },
            _ => {
                let ran = self.vcpu.run();
                let halted = ran == Ok(Exit::Hlt);
                let done = format!("{ran:?}");
                self.check_if(halted, &done);
                done
            }
        };
        self.steps.push_back(done);
        if self.steps.len() > REMEMBERED {
            self.steps.pop_front();
        }
    }

    fn check_if(&self, halted: bool, now: &str) {
        if !halted {
            return;
        }
        let rip = self.vcpu.fd().get_regs().unwrap().rip;
        let (counted, injected) = (self.counted(), self.injected);
        let in_program = self.machine.guest.contains(Program::Halt, rip);
        assert!(
            counted == injected && in_program,
            "halted at {rip:#x}, {counted:?} of {injected:?} counted, with {now} after {:#?}",
            self.steps
        );
    }
}

fn walk(test: &str, order: impl FnOnce(&Kvm) -> MechanismOrder) {
    let Some(kvm) = kvm(test) else { return };
    let Some(mut walk) = Walk::new(test, order(&kvm)) else {
        return;
    };
    let mut irregular = Irregular::new(0xb5ad_4ece_da1c_e2a9);
    for _ in 0..STEPS {
        walk.step(&mut irregular);
    }
    println!("{test}: {:?} events counted", walk.injected);
    assert!(walk.injected.iter().all(|count| *count > 0));
}

#[test]
fn a_halting_guest_loses_nothing_on_a_random_walk() {
    let test = "a_halting_guest_loses_nothing_on_a_random_walk";
    walk(test, |kvm| HostMechanisms::measure(kvm).unwrap().order());
}

#[test]
fn with_timers_alone_it_loses_nothing_either() {
    let test = "with_timers_alone_it_loses_nothing_either";
    walk(test, |_| MechanismOrder::only(Mechanism::BlockedSignal));
}
