// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One immediate exit delivers what was injected: the frame is on the guest's stack, once; nothing is
//! pending any more; and of the handler no more instructions have run than the mechanism promises.

use std::env;
use std::fmt;

use guest_programs::{Handlers, Mode, Program};
use kvm_bindings::kvm_regs;
use vcpu_runner::kvm::KvmVcpu;
use vcpu_runner::kvm::immediate_exit::{HostMechanisms, Mechanism, MechanismOrder, Sample};
use vcpu_runner::{BriefRun, Evidence, ImmediateExit, Injection, Vcpu};

use crate::irregular::Irregular;
use crate::machine::{Event, Machine, kvm};

/// Vectors of external interrupts, and of exceptions with error code and without.
const INTERRUPTS: [u8; 4] = [0x20, 0x41, 0x80, 0xff];
const EXCEPTIONS: [u8; 4] = [13, 14, 6, 17];

/// Cases for each mechanism. Where the CPU itself is emulated one takes milliseconds:
/// `VCPU_RUNNER_CASES` asks for another number.
fn cases() -> u64 {
    let asked = env::var("VCPU_RUNNER_CASES").ok();
    asked.map_or(10_000, |number| number.parse().unwrap())
}

/// What the host's own measurement promises of a mechanism that delivers an event: at most so many
/// instructions of the handler. `None` where there is no promise.
fn promise(mechanism: Mechanism, sample: &Sample) -> Option<u64> {
    match mechanism {
        Mechanism::Step | Mechanism::StepAndBreakpoint => {
            (sample.most_instructions <= 1).then_some(sample.most_instructions)
        }
        Mechanism::InterruptWindow | Mechanism::Timer | Mechanism::BlockedSignal => None,
    }
}

/// One case.
#[derive(Clone, Copy)]
struct Case {
    mode: Mode,
    ist: bool,
    program: Program,
    event: Event,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            mode,
            ist,
            program,
            event,
        } = self;
        write!(f, "{event:?} into {program:?} in {mode}, IST {ist}")
    }
}

/// What can be delivered into `program`. An external interrupt is not, where interrupts are off: the
/// processor refuses such an entry (SDM 3, 27.3.1.4).
fn event(irregular: &mut Irregular, program: Program) -> Event {
    match irregular.below(3) {
        0 if program.interrupts() => Event::Interrupt(irregular.pick(&INTERRUPTS)),
        1 => Event::Exception(irregular.pick(&EXCEPTIONS)),
        _ => Event::Nmi,
    }
}

/// A vCPU in each mode, with interrupt stacks and without.
struct Machines(Vec<(Machine, KvmVcpu, bool)>);

impl Machines {
    fn new(test: &str, mechanism: Mechanism) -> Option<Self> {
        let mut machines = Vec::new();
        for (mode, ist) in [
            (Mode::Real, false),
            (Mode::Protected, false),
            (Mode::Long, false),
            (Mode::Long, true),
        ] {
            let machine = Machine::new(test, mode, Handlers::Endless, ist)?;
            let vcpu = machine.vcpu(0, Program::Spin, MechanismOrder::only(mechanism));
            machines.push((machine, vcpu, ist));
        }
        Some(Self(machines))
    }
}

fn entered(vcpu: &mut KvmVcpu, case: &Case) -> ImmediateExit {
    match vcpu.run_briefly() {
        Ok(BriefRun::Entered { report, exit: None }) => report,
        other => panic!("{case}: {other:?}"),
    }
}

/// The frame that `case` has pushed, and nothing else on the stack.
fn check_stack(machine: &Machine, regs: &kvm_regs, case: &Case) {
    let Machine { guest, memory, .. } = machine;
    let error_code =
        matches!(case.event, Event::Exception(_)) && guest.pushes_error_code(case.event.vector());
    let stack = guest.stack_for(case.event.vector());
    assert_eq!(regs.rsp, stack - guest.frame_len(error_code), "{case}");
    let frame = guest.frame(memory, regs.rsp, error_code).unwrap();
    assert!(guest.contains(case.program, frame.ip), "{case}: {frame:x?}");
    assert_eq!(frame.ip, guest.entry(case.program), "{case}: {frame:x?}");
    const TF: u64 = 1 << 8;
    const IF: u64 = 1 << 9;
    assert_eq!(frame.flags & TF, 0, "{case}: the step shows in {frame:x?}");
    let interrupts_on = frame.flags & IF != 0;
    assert_eq!(interrupts_on, case.program.interrupts(), "{case}");
    assert_eq!(frame.error_code, error_code.then_some(0x18), "{case}");
    // Once: below it nothing was written.
    let below = guest.frame(memory, regs.rsp - guest.frame_len(false), false);
    let below = below.unwrap();
    assert_eq!((below.ip, below.cs, below.flags), (0, 0, 0), "{case}");
}

fn check_nothing_pends(vcpu: &KvmVcpu, case: &Case) {
    let events = vcpu.fd().get_vcpu_events().unwrap();
    let waits = [
        events.exception.injected,
        events.exception.pending,
        events.interrupt.injected,
        events.nmi.injected,
        events.nmi.pending,
    ];
    assert_eq!(waits, [0; 5], "{case}: {events:?}");
}

fn deliver(test: &str, mechanism: Mechanism) {
    let Some(kvm) = kvm(test) else { return };
    let host = HostMechanisms::measure(&kvm).unwrap();
    let measured = host.measured().iter().find(|m| m.mechanism == mechanism);
    let sample = match &measured.unwrap().with_event {
        Ok(sample) => *sample,
        Err(why) => {
            eprintln!("SKIPPED: vcpu-runner {test}: {mechanism} on this host: {why}");
            return;
        }
    };
    let promise = promise(mechanism, &sample);
    let is_breakpoint = matches!(mechanism, Mechanism::Step | Mechanism::StepAndBreakpoint);
    // What its backstop ends takes as long as that.
    let cases = if promise.is_none() && is_breakpoint {
        eprintln!(
            "SKIPPED: vcpu-runner {test}: this host does not stop in the handler ({} instructions \
             ran); only that the event is delivered is tested, in fewer cases",
            sample.most_instructions
        );
        cases() / 50
    } else {
        cases()
    };
    let mut machines = Machines::new(test, mechanism).unwrap();
    let mut irregular = Irregular::new(0x9e37_79b9_7f4a_7c15);
    let mut most = 0;
    let mut missed = 0;
    for _ in 0..cases {
        let which = irregular.below(machines.0.len() as u64) as usize;
        let (machine, vcpu, ist) = &mut machines.0[which];
        let program = irregular.pick(&Program::ALL);
        let case = Case {
            mode: machine.guest.mode(),
            ist: *ist,
            program,
            event: event(&mut irregular, program),
        };
        machine.restart(vcpu, program);
        machine.inject(vcpu, case.event);
        let report = entered(vcpu, &case);
        let regs = vcpu.fd().get_regs().unwrap();
        assert_eq!(report.injection, Injection::Consumed, "{case}: {report:?}");
        assert_ne!(report.evidence, Evidence::Progress, "{case}: {report:?}");
        let executed = machine.guest.executed(case.event.vector(), &regs);
        let executed = executed.unwrap_or_else(|| panic!("{case}: {regs:x?}"));
        if let Some(promise) = promise {
            assert!(executed <= promise, "{case}: {executed} ran, {report:?}");
        }
        if let Some(known) = report.instructions {
            assert_eq!(executed, known, "{case}: {report:?}");
        }
        check_stack(machine, &regs, &case);
        check_nothing_pends(vcpu, &case);
        most = most.max(executed);
        missed += report.attempts - 1;
    }
    println!(
        "{mechanism}: {cases} events, at most {most} instructions of a handler, {missed} attempts \
         missed"
    );
}

#[test]
fn step_delivers() {
    deliver("step_delivers", Mechanism::Step);
}

#[test]
fn step_and_breakpoint_delivers() {
    deliver("step_and_breakpoint_delivers", Mechanism::StepAndBreakpoint);
}

#[test]
fn timer_delivers() {
    deliver("timer_delivers", Mechanism::Timer);
}

#[test]
fn blocked_signal_delivers() {
    deliver("blocked_signal_delivers", Mechanism::BlockedSignal);
}

/// Without an event: the guest is entered, and comes back where it was stopped.
#[test]
fn each_mechanism_enters_without_an_event() {
    let test = "each_mechanism_enters_without_an_event";
    for &mechanism in Mechanism::ALL {
        if mechanism == Mechanism::StepAndBreakpoint {
            continue;
        }
        let Some(mut machines) = Machines::new(test, mechanism) else {
            return;
        };
        let mut irregular = Irregular::new(7);
        for _ in 0..cases() / 10 {
            let which = irregular.below(machines.0.len() as u64) as usize;
            let (machine, vcpu, _) = &mut machines.0[which];
            let program = irregular.pick(&[Program::Spin, Program::Count, Program::Masked]);
            machine.restart(vcpu, program);
            let report = match vcpu.run_briefly() {
                Ok(BriefRun::Entered { report, exit: None }) => report,
                Err(error) if mechanism == Mechanism::InterruptWindow => {
                    assert_eq!(program, Program::Masked, "{error:?}");
                    continue;
                }
                other => panic!("{mechanism}, {program:?}: {other:?}"),
            };
            assert_eq!(report.injection, Injection::Nothing, "{report:?}");
            let regs = vcpu.fd().get_regs().unwrap();
            assert!(machine.guest.contains(program, regs.rip), "{report:?}");
            if report.instructions == Some(1) && program != Program::Spin {
                let progress = machine.guest.progress(&machine.memory).unwrap();
                assert!(progress <= 1, "{mechanism}: {progress} {report:?}");
            }
        }
    }
}

/// A guest that is at a PIO instruction makes its exit, which is the caller's to handle, and I/O that
/// pends before is no entry.
#[test]
fn an_exit_of_the_guests_own_is_the_callers() {
    let test = "an_exit_of_the_guests_own_is_the_callers";
    for &mechanism in Mechanism::ALL {
        if mechanism == Mechanism::StepAndBreakpoint {
            continue;
        }
        let Some(machine) = Machine::new(test, Mode::Long, Handlers::Short, false) else {
            return;
        };
        let mut vcpu = machine.vcpu(0, Program::PortOut, MechanismOrder::only(mechanism));
        machine.restart(&vcpu, Program::PortOut);
        let mut exits = 0;
        for _ in 0..100 {
            match vcpu.run_briefly() {
                Ok(BriefRun::Entered {
                    exit: Some(vcpu_runner::Exit::IoOut { port, .. }),
                    ..
                }) => {
                    assert_eq!(port, guest_programs::PORT);
                    exits += 1;
                }
                // Stopped before the instruction, or behind it.
                Ok(BriefRun::Entered { exit: None, .. }) => {}
                other => panic!("{mechanism}: {other:?}"),
            }
            // Finishes its I/O, as the loop does.
            let skip = vcpu.skip_flag();
            vcpu_runner::SkipFlag::set(&*skip);
            assert!(vcpu.run().is_err());
            vcpu_runner::SkipFlag::clear(&*skip);
        }
        // A window is open before the instruction, where KVM does not emulate it.
        assert!(
            exits > 0 || mechanism == Mechanism::InterruptWindow,
            "{mechanism}"
        );
        let progress = machine.guest.progress(&machine.memory).unwrap();
        assert!(progress <= exits, "{mechanism}: {progress} of {exits}");
    }
}
