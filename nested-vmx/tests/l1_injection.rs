// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The case that the immediate exit exists for: an event waits for L1, and L1 launches L2 with an
//! event of its own.
#![allow(clippy::expect_used, clippy::panic, reason = "a test may")]

mod support;

use std::cell::Cell;

use nested_vmx::controls::PinControls;
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::interruption::Event;
use nested_vmx::l0::{
    Border, Decision, ExitInformation, NestedVmx, PendingException, VcpuRequestSink,
};
use nested_vmx::model::{L2Instruction, Machine};
use support::{L2, entered, seen_by_l1};
use vcpu_requests::{NotEntered, VcpuRequests};

/// Each kind of event that L1 can inject.
fn injections() -> [Event; 5] {
    let software = |kind, vector| Event {
        instruction_length: 2,
        ..Event::new(kind, vector)
    };
    [
        Event::external_interrupt(0x31),
        Event::NMI,
        Event::exception(13, Some(0x18)),
        software(nested_vmx::interruption::EventType::SoftwareInterrupt, 0x80),
        software(nested_vmx::interruption::EventType::SoftwareException, 3),
    ]
}

/// An event's name, how it comes, and the exit reason that it causes.
type Waiting = (&'static str, fn(&mut Machine), u32);

/// Each kind of event that waits for L1, and the exit that it causes.
fn waiting() -> [Waiting; 3] {
    [
        (
            "external interrupt",
            |machine| {
                machine.interrupts.raise(0x55);
            },
            1,
        ),
        ("NMI", |machine| machine.vmx.pending_mut().nmi = true, 0),
        ("INIT", |machine| machine.vmx.pending_mut().init = true, 3),
    ]
}

#[test]
fn the_injection_is_in_l2_and_the_event_is_with_l1() {
    for injection in injections() {
        for (name, make_wait, reason) in waiting() {
            // With virtual NMIs, an NMI in L2 does not hold back one for L1.
            let mut machine = L2::new()
                .interruptible()
                .intercepting_all()
                .pin(PinControls::VIRTUAL_NMIS)
                .inject(injection)
                .launch();
            make_wait(&mut machine);

            let how = entered(&machine.step());
            assert!(how.immediate_exit, "{injection:?}, {name}");
            assert_eq!(how.injection, Some(injection));
            assert_eq!(machine.requests.0.get(), 1, "asked once");
            assert_eq!(machine.cpu.delivered(), [injection]);
            assert_eq!(machine.cpu.instructions(), 0, "nothing of L2 ran");

            assert_eq!(machine.step().decision, Decision::L1);
            let (seen, event, vectoring) = seen_by_l1(&machine);
            assert_eq!(seen, reason, "{injection:?}, {name}");
            assert_eq!(vectoring, None, "it was delivered");
            if reason == 1 {
                assert_eq!(event, Some(Event::external_interrupt(0x55)));
                assert_eq!(machine.interrupts.acknowledged(), [0x55]);
            }
            assert_eq!(machine.cpu.entries(), 1);
            assert_eq!(machine.requests.0.get(), 1);
        }
    }
}

#[test]
fn an_injection_whose_delivery_fails_is_in_idt_vectoring() {
    for injection in injections() {
        for (name, make_wait, reason) in waiting() {
            let mut machine = L2::new()
                .interruptible()
                .intercepting_all()
                .inject(injection)
                .launch();
            make_wait(&mut machine);
            // L1 gets this exit, and the event later: it still waits.
            machine
                .cpu
                .push(L2Instruction::FailDelivery(ExitInformation::new(
                    ExitReason::TASK_SWITCH,
                )));
            machine.step();
            let (seen, _, vectoring) = seen_by_l1(&machine);
            assert_eq!(seen, ExitReason::TASK_SWITCH.0, "{injection:?}, {name}");
            assert_eq!(vectoring, Some(injection));
            assert!(machine.cpu.delivered().is_empty());
            assert_ne!(seen, reason);
            let waits = machine.interrupts.waiting() == 1
                || machine.vmx.pending().nmi
                || machine.vmx.pending().init;
            assert!(waits, "{name}");
        }
    }
}

#[test]
fn a_delivery_that_l0_has_to_help_is_tried_again_before_l1_has_its_event() {
    let injection = Event::exception(14, Some(2));
    let mut machine = L2::new().intercepting_all().inject(injection).launch();
    machine.interrupts.raise(0x55);
    // An EPT violation that is L0's own: while the stack is written, say.
    let violation = ExitInformation::new(ExitReason::EPT_VIOLATION);
    machine.cpu.push(L2Instruction::FailDelivery(violation));
    let stepped = machine.step();
    assert!(entered(&stepped).immediate_exit);
    assert!(machine.vmx.operation().is_non_root());
    assert_eq!(machine.vmx.injection(), Some(injection));
    assert!(!machine.vmx.operation().is_run_pending());

    let how = entered(&machine.step());
    assert!(how.immediate_exit, "the interrupt still waits");
    assert_eq!(how.injection, Some(injection));
    assert_eq!(machine.requests.0.get(), 2, "once for each entry");
    assert_eq!(machine.cpu.delivered(), [injection]);
    assert_eq!(machine.step().decision, Decision::L1);
    assert_eq!(seen_by_l1(&machine).0, 1);
}

#[test]
fn without_an_event_there_is_no_request() {
    for injection in injections() {
        let mut machine = L2::new()
            .interruptible()
            .intercepting_all()
            .inject(injection)
            .launch();
        for _ in 0..3 {
            assert!(!entered(&machine.step()).immediate_exit);
        }
        assert_eq!(machine.requests.0.get(), 0);
        assert_eq!(machine.cpu.delivered(), [injection]);
    }
}

#[test]
fn an_event_that_l2_would_not_exit_for_is_no_reason() {
    // A masked interrupt, an NMI behind an NMI, a start-up IPI for a processor that runs.
    let mut machine = L2::new().intercepting_all().launch();
    machine.interrupts.raise(0x55);
    machine.interrupts.set_masked(true);
    assert!(!entered(&machine.step()).immediate_exit);

    // An interrupt that L2 takes itself, with interrupts off: a window, and no immediate exit.
    let mut machine = L2::new().launch();
    machine.interrupts.raise(0x55);
    let how = entered(&machine.step());
    assert!(!how.immediate_exit && how.interrupt_window);
    assert_eq!(machine.requests.0.get(), 0);
}

vcpu_requests::requests! {
    /// What is asked of the virtual processor here.
    enum Ask {
        /// An event arrived.
        Event = 0,
        /// Run the guest only for as little as possible.
        ImmediateExit = 1,
    }
}

/// The loop of a vCPU's thread up to an entry: whether the entry is to be an immediate exit, and
/// how L2 is entered. An event arrives at the moment `arrives_at`, in passes.
fn until_entry(
    machine: &mut Machine,
    requests: &VcpuRequests<Ask>,
    arrives_at: u32,
) -> (bool, nested_vmx::l0::EnterL2) {
    let immediate = Cell::new(false);
    for pass in 0..10 {
        let decision = {
            let sink = VcpuRequestSink::new(requests, Ask::ImmediateExit);
            let mut border = Border {
                memory: &machine.memory,
                msrs: &mut machine.msrs,
                hardware: &mut machine.cpu,
                interrupts: &mut machine.interrupts,
                clock: &machine.clock,
                requests: &sink,
            };
            NestedVmx::before_entry(&mut machine.vmx, &mut border)
        };
        if pass == arrives_at {
            // Another thread: after the decision, before the entry.
            machine.interrupts.raise(0x55);
            let _ = requests.make(Ask::Event);
        }
        match requests.enter() {
            Ok(guest) => {
                guest.leave();
                match decision {
                    Decision::L2(how) => return (immediate.get(), how),
                    other => panic!("{other:?}"),
                }
            }
            Err(NotEntered::Pending(_)) => {
                for request in requests.take() {
                    if request == Ask::ImmediateExit {
                        immediate.set(true);
                    }
                }
            }
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the loop does not end");
}

#[test]
fn through_vcpu_requests_the_request_is_seen_in_the_same_entry() {
    let requests = VcpuRequests::new();
    let injection = Event::exception(6, None);
    let mut machine = L2::new().intercepting_all().inject(injection).launch();
    machine.interrupts.raise(0x55);
    let (immediate, how) = until_entry(&mut machine, &requests, u32::MAX);
    assert!(immediate && how.immediate_exit);
    assert_eq!(how.injection, Some(injection));
}

#[test]
fn an_event_that_arrives_between_decision_and_entry_is_not_lost() {
    let requests = VcpuRequests::new();
    let injection = Event::exception(6, None);
    let mut machine = L2::new().intercepting_all().inject(injection).launch();
    let (immediate, how) = until_entry(&mut machine, &requests, 0);
    assert!(immediate && how.immediate_exit, "decided anew");
    let exit = machine.cpu.enter(&how);
    let _ = machine.with_border(|vmx, border| vmx.after_exit(exit, border));
    assert_eq!(machine.cpu.delivered(), [injection]);
    assert_eq!(machine.step().decision, Decision::L1);
    assert_eq!(seen_by_l1(&machine).0, 1);
}

#[test]
fn without_a_request_the_loop_enters_at_once() {
    let requests = VcpuRequests::new();
    let mut machine = L2::new().intercepting_all().launch();
    let (immediate, how) = until_entry(&mut machine, &requests, u32::MAX);
    assert!(!immediate && !how.immediate_exit);
}

#[test]
fn an_exception_for_l1_waits_for_the_entry_too() {
    let injection = Event::external_interrupt(0x31);
    let mut machine = L2::new()
        .interruptible()
        .with(nested_vmx::vmcs::Field::ExceptionBitmap, 1 << 14)
        .inject(injection)
        .launch();
    machine
        .vmx
        .raise_exception(PendingException::page_fault(2, 0x1234))
        .expect("L2 is active");
    assert!(entered(&machine.step()).immediate_exit);
    assert_eq!(machine.cpu.delivered(), [injection]);
    assert_eq!(machine.step().decision, Decision::L1);
    let (reason, event, vectoring) = seen_by_l1(&machine);
    assert_eq!(reason, 0);
    assert_eq!(event, Some(Event::exception(14, Some(2))));
    assert_eq!(vectoring, None);
    assert_eq!(machine.vmx.vmcs12().exit_qualification(), 0x1234);
}
