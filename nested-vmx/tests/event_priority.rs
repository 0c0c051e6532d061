// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The priority of events while L2 is active: every row of `facts/event_priority_nested.tsv`, alone
//! and against every row below it.
#![allow(clippy::expect_used, clippy::panic, reason = "a test may")]

mod facts;
mod support;

use nested_vmx::controls::{ExitControls, PinControls, PrimaryControls, SecondaryControls};
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::interruption::Event;
use nested_vmx::l0::{AfterExit, Decision, ExitInformation, PendingException};
use nested_vmx::memory::L1Memory;
use nested_vmx::model::{L2Instruction, Machine};
use nested_vmx::vmcs::Field;
use support::{L2, entered, seen_by_l1};

const WAIT_FOR_SIPI: u64 = 3;
const NOTIFICATION: u8 = 0xf2;
const VECTOR: u8 = 0x40;

/// What is to come of an event that is not blocked.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Taken {
    Exit(u32, Option<Event>),
    Injected(Event),
    Smm,
    Posted,
}

/// A row: its number, what L1 asks for, how the event comes, what is to come of it, and whether an
/// event on its way into L2 holds it back.
struct Row {
    number: u32,
    l2: fn(L2) -> L2,
    come: fn(&mut Machine),
    waits: fn(&Machine) -> bool,
    taken: Taken,
    blocked_by_reinjection: bool,
}

fn raise(machine: &mut Machine, exception: PendingException) {
    machine
        .vmx
        .raise_exception(exception)
        .expect("L2 is active");
}

fn posted(l2: L2) -> L2 {
    l2.intercepting_all()
        .pin(PinControls::PROCESS_POSTED_INTERRUPTS)
        .primary(PrimaryControls::USE_TPR_SHADOW)
        .secondary(SecondaryControls::VIRTUAL_INTERRUPT_DELIVERY)
        .with(Field::VirtualApicPageAddr, 0x30000)
        .with(Field::PostedIntrNv, NOTIFICATION.into())
        .with(Field::PostedIntrDescAddr, 0x31000)
}

const INTERRUPT: Event = Event::external_interrupt(VECTOR);
const UD: Event = Event::exception(6, None);
const DB: Event = Event::exception(1, None);

const ROWS: &[Row] = &[
    Row {
        number: 1,
        l2: |l2| l2,
        come: |machine| machine.vmx.pending_mut().init = true,
        waits: |machine| machine.vmx.pending().init,
        taken: Taken::Exit(3, None),
        blocked_by_reinjection: true,
    },
    Row {
        number: 2,
        l2: |l2| l2.with(Field::GuestActivityState, WAIT_FOR_SIPI),
        come: |machine| machine.vmx.pending_mut().sipi = Some(0x9a),
        waits: |machine| machine.vmx.pending().sipi.is_some(),
        taken: Taken::Exit(4, None),
        blocked_by_reinjection: true,
    },
    Row {
        number: 3,
        l2: |l2| l2.with(Field::ExceptionBitmap, 1 << 6 | 1 << 1),
        come: |machine| raise(machine, PendingException::fault(6, None)),
        waits: |machine| machine.vmx.pending().exception.is_some(),
        taken: Taken::Exit(0, Some(UD)),
        blocked_by_reinjection: false,
    },
    Row {
        number: 4,
        l2: |l2| l2,
        come: |machine| raise(machine, PendingException::fault(6, None)),
        waits: |machine| machine.vmx.pending().exception.is_some(),
        taken: Taken::Injected(UD),
        blocked_by_reinjection: false,
    },
    Row {
        number: 5,
        l2: |l2| l2.primary(PrimaryControls::MONITOR_TRAP_FLAG),
        come: |machine| machine.vmx.instruction_emulated(),
        waits: |machine| machine.vmx.pending().monitor_trap,
        taken: Taken::Exit(37, None),
        blocked_by_reinjection: true,
    },
    Row {
        number: 6,
        l2: |l2| l2.with(Field::ExceptionBitmap, 1 << 6 | 1 << 1),
        come: |machine| raise(machine, PendingException::debug_trap(1 << 14)),
        waits: |machine| machine.vmx.pending().exception.is_some(),
        taken: Taken::Exit(0, Some(DB)),
        blocked_by_reinjection: false,
    },
    Row {
        number: 7,
        l2: |l2| l2,
        come: |machine| raise(machine, PendingException::debug_trap(1 << 14)),
        waits: |machine| machine.vmx.pending().exception.is_some(),
        taken: Taken::Injected(DB),
        blocked_by_reinjection: false,
    },
    Row {
        number: 8,
        l2: |l2| {
            l2.pin(PinControls::PREEMPTION_TIMER)
                .with(Field::VmxPreemptionTimerValue, 1)
        },
        come: |machine| machine.clock.0.set(1 << 40),
        // The timer stays at 0 until L2 is left.
        waits: |_| true,
        taken: Taken::Exit(52, None),
        blocked_by_reinjection: true,
    },
    Row {
        number: 9,
        l2: |l2| l2,
        come: |machine| machine.vmx.pending_mut().smi = true,
        waits: |machine| machine.vmx.pending().smi,
        taken: Taken::Smm,
        blocked_by_reinjection: true,
    },
    Row {
        number: 10,
        l2: |l2| l2.pin(PinControls::NMI_EXITING),
        come: |machine| machine.vmx.pending_mut().nmi = true,
        waits: |machine| machine.vmx.pending().nmi,
        taken: Taken::Exit(0, Some(Event::NMI)),
        blocked_by_reinjection: true,
    },
    Row {
        number: 10,
        l2: |l2| l2,
        come: |machine| machine.vmx.pending_mut().nmi = true,
        waits: |machine| machine.vmx.pending().nmi,
        taken: Taken::Injected(Event::NMI),
        blocked_by_reinjection: true,
    },
    Row {
        number: 11,
        l2: L2::interruptible,
        come: |machine| assert!(machine.interrupts.raise(VECTOR)),
        waits: |machine| machine.interrupts.waiting() == 1,
        taken: Taken::Injected(INTERRUPT),
        blocked_by_reinjection: true,
    },
    Row {
        number: 12,
        l2: |l2| l2.pin(PinControls::EXTERNAL_INTERRUPT_EXITING),
        come: |machine| assert!(machine.interrupts.raise(VECTOR)),
        waits: |machine| machine.interrupts.waiting() == 1,
        taken: Taken::Exit(1, None),
        blocked_by_reinjection: true,
    },
    Row {
        // For this core, 13 and 15 are one: where the vector comes from is the controller's.
        number: 13,
        l2: |l2| {
            l2.pin(PinControls::EXTERNAL_INTERRUPT_EXITING)
                .exit(ExitControls::ACKNOWLEDGE_INTERRUPT_ON_EXIT)
        },
        come: |machine| assert!(machine.interrupts.raise(VECTOR)),
        waits: |machine| machine.interrupts.waiting() == 1,
        taken: Taken::Exit(1, Some(INTERRUPT)),
        blocked_by_reinjection: true,
    },
    Row {
        number: 14,
        l2: posted,
        come: |machine| {
            machine
                .memory
                .write(0x31000, &[0, 0, 0, 0, 2])
                .expect("memory");
            assert!(machine.interrupts.raise(NOTIFICATION));
        },
        waits: |machine| machine.interrupts.waiting() == 1,
        taken: Taken::Posted,
        blocked_by_reinjection: true,
    },
    Row {
        number: 15,
        l2: posted,
        come: |machine| assert!(machine.interrupts.raise(VECTOR)),
        waits: |machine| machine.interrupts.waiting() == 1,
        taken: Taken::Exit(1, Some(INTERRUPT)),
        blocked_by_reinjection: true,
    },
    Row {
        // That what was posted is in the virtual-APIC page, and RVI with it.
        number: 16,
        l2: posted,
        come: |machine| {
            machine
                .memory
                .write(0x31000, &[0, 0, 0, 0, 2])
                .expect("memory");
            assert!(machine.interrupts.raise(NOTIFICATION));
        },
        waits: |machine| machine.interrupts.waiting() == 1,
        taken: Taken::Posted,
        blocked_by_reinjection: true,
    },
];

/// The event of `row` is taken by the next look at the events.
fn assert_taken(row: &Row, machine: &mut Machine, context: &str) {
    let decision = machine.with_border(|vmx, border| vmx.before_entry(border));
    match row.taken {
        Taken::Exit(reason, event) => {
            assert_eq!(decision, Decision::L1, "{context}");
            let (seen, what, _) = seen_by_l1(machine);
            assert_eq!((seen, what), (reason, event), "{context}");
        }
        Taken::Injected(event) => match decision {
            Decision::L2(how) => assert_eq!(how.injection, Some(event), "{context}"),
            other => panic!("{context}: {other:?}"),
        },
        Taken::Smm => assert_eq!(decision, Decision::Smm, "{context}"),
        Taken::Posted => {
            assert!(
                matches!(decision, Decision::L2(_)),
                "{context}: {decision:?}"
            );
            assert_eq!(
                machine.interrupts.acknowledged(),
                [NOTIFICATION],
                "{context}"
            );
            assert_eq!(machine.memory.read_u64(0x31000), Ok(0));
            // Bit 33 of the requests: register 1 of VIRR, bit 1; RVI.
            assert_eq!(machine.memory.read_u32(0x30210), Ok(2));
            assert_eq!(machine.vmx.vmcs02().guest_intr_status(), 33);
        }
    }
}

#[test]
fn every_row_has_its_case() {
    let rows = facts::rows("event_priority_nested.tsv");
    for row in &rows {
        let number: u32 = row["order"].parse().expect("a number");
        let ours: Vec<&Row> = ROWS.iter().filter(|row| row.number == number).collect();
        assert!(!ours.is_empty(), "{}", row["event"]);
        if number < 16 {
            let blocked = row["blocked_by"].contains('J');
            assert!(
                ours.iter().all(|row| row.blocked_by_reinjection == blocked),
                "{number}"
            );
        }
    }
    assert_eq!(rows.len(), 16);
}

#[test]
fn alone() {
    for row in ROWS {
        let mut machine = (row.l2)(L2::new()).launch();
        enter(&mut machine);
        (row.come)(&mut machine);
        assert_taken(row, &mut machine, &format!("row {}", row.number));
    }
}

/// The entry that L1 asked for happens, whatever L2's activity state is.
fn enter(machine: &mut Machine) {
    let decision = machine.step().decision;
    assert!(
        matches!(decision, Decision::L2(_) | Decision::Wait { .. }),
        "{decision:?}"
    );
    assert!(machine.vmx.operation().is_non_root());
}

#[test]
fn the_row_above_comes_first_and_the_one_below_stays() {
    let mut pairs = 0;
    for (at, first) in ROWS.iter().enumerate() {
        for second in &ROWS[at + 1..] {
            // One slot for exceptions, one pin for interrupts, and controls that exclude each
            // other; only the row of the SIPI is in its activity state.
            let group = |row: &Row| match row.number {
                2 => 0,
                3 | 4 | 6 | 7 => 1,
                10 => 2,
                11..=16 => 3,
                other => 10 + other,
            };
            let sipi = first.number == 2 || second.number == 2;
            let only_there = sipi && !matches!((first.number, second.number), (1, 2) | (2, 3..=7));
            if group(first) == group(second) || only_there {
                continue;
            }
            let context = format!("{} before {}", first.number, second.number);
            let mut machine = (second.l2)((first.l2)(L2::new())).launch();
            enter(&mut machine);
            (second.come)(&mut machine);
            (first.come)(&mut machine);
            if (first.number, second.number) == (1, 2) {
                // In the wait-for-SIPI state an INIT is discarded.
                let decision = machine.with_border(|vmx, border| vmx.before_entry(border));
                assert_eq!(decision, Decision::L1);
                assert_eq!(seen_by_l1(&machine).0, ExitReason::SIPI.0);
                continue;
            }
            pairs += 1;
            if let Taken::Injected(_) | Taken::Posted = first.taken {
                // L2 stays, and the second one may follow at once where it is not blocked.
                let decision = machine.with_border(|vmx, border| vmx.before_entry(border));
                if let (Decision::L2(how), Taken::Injected(event)) = (decision, first.taken) {
                    assert_eq!(how.injection, Some(event), "{context}");
                    assert_eq!(how.immediate_exit, (second.waits)(&machine), "{context}");
                }
                continue;
            }
            assert_taken(first, &mut machine, &context);
            let lost_with_l2 = matches!(second.number, 3..=8);
            assert!(lost_with_l2 || (second.waits)(&machine), "{context}");
        }
    }
    assert!(pairs > 60, "{pairs} pairs");
}

#[test]
fn a_pending_entry_blocks_every_row_that_leaves_l2() {
    for row in ROWS {
        let mut machine = (row.l2)(L2::new()).launch();
        if row.number == 2 {
            // L2 would not execute anything: there is no entry to wait for.
            continue;
        }
        (row.come)(&mut machine);
        if row.taken == Taken::Posted {
            // It does not leave L2.
            assert_taken(row, &mut machine, "posted interrupts");
            continue;
        }
        let how = entered(&machine.step());
        assert!(how.immediate_exit, "row {}", row.number);
        assert_eq!(how.injection, None);
        assert!((row.waits)(&machine), "row {}", row.number);
        assert_taken(
            row,
            &mut machine,
            &format!("row {} after the entry", row.number),
        );
    }
}

#[test]
fn a_reinjection_blocks_what_the_table_says() {
    let reinjected = Event::exception(13, Some(0x18));
    for row in ROWS.iter().filter(|row| row.number != 2) {
        let mut machine = (row.l2)(L2::new()).inject(reinjected).launch();
        let own = ExitInformation::new(ExitReason::EPT_VIOLATION);
        machine.cpu.push(L2Instruction::FailDelivery(own));
        assert!(matches!(machine.step().after, Some(AfterExit::L0(_))));
        (row.come)(&mut machine);
        let context = format!("row {}", row.number);
        if row.blocked_by_reinjection {
            let how = entered(&machine.step());
            assert!(how.immediate_exit, "{context}");
            assert_eq!(how.injection, Some(reinjected), "{context}");
            assert!((row.waits)(&machine), "{context}");
            assert_taken(row, &mut machine, &context);
        } else {
            assert_taken(row, &mut machine, &context);
        }
    }
}

#[test]
fn nothing_is_asked_for_a_sipi_that_has_no_effect() {
    let mut machine = L2::new().launch();
    machine.vmx.pending_mut().sipi = Some(0x9a);
    assert!(!entered(&machine.step()).immediate_exit);
    assert_eq!(machine.requests.0.get(), 0);
    assert_eq!(machine.vmx.pending().sipi, None);
}

#[test]
fn no_timer_ends_the_wait_for_a_sipi() {
    let mut machine = L2::new()
        .with(Field::GuestActivityState, WAIT_FOR_SIPI)
        .pin(PinControls::PREEMPTION_TIMER)
        .launch();
    let waits = Decision::Wait {
        activity: 3,
        preemption_timer: None,
    };
    assert_eq!(machine.step().decision, waits);
}

/// Seen on a processor: windows come before external interrupts, that for NMIs before that for
/// interrupts. What waits still waits then.
#[test]
fn windows_come_before_an_interrupt_that_waits() {
    const INTERRUPT_WINDOW: u32 = 7;
    const NMI_WINDOW: u32 = 8;
    const EXTERNAL_INTERRUPT: u32 = 1;
    let both = PrimaryControls::INTERRUPT_WINDOW_EXITING | PrimaryControls::NMI_WINDOW_EXITING;
    let nmis = PinControls::NMI_EXITING | PinControls::VIRTUAL_NMIS;
    for (windows, rflags, blocking, expected) in [
        (both, 0x202, 0, NMI_WINDOW),
        (both, 0x202, 1 << 3, INTERRUPT_WINDOW),
        (
            PrimaryControls::INTERRUPT_WINDOW_EXITING,
            0x202,
            0,
            INTERRUPT_WINDOW,
        ),
        (
            PrimaryControls::INTERRUPT_WINDOW_EXITING,
            0x2,
            0,
            EXTERNAL_INTERRUPT,
        ),
        (
            PrimaryControls::NMI_WINDOW_EXITING,
            0x2,
            1 << 3,
            EXTERNAL_INTERRUPT,
        ),
        (PrimaryControls::empty(), 0x202, 0, EXTERNAL_INTERRUPT),
    ] {
        let l2 = L2::new()
            .pin(nmis | PinControls::EXTERNAL_INTERRUPT_EXITING)
            .primary(windows)
            .with(Field::GuestRflags, rflags)
            .with(Field::GuestInterruptibilityInfo, blocking);
        let mut machine = l2.launch();
        machine.interrupts.raise(VECTOR);
        assert!(entered(&machine.step()).immediate_exit);
        assert_eq!(machine.step().decision, Decision::L1);
        let (reason, ..) = seen_by_l1(&machine);
        assert_eq!(reason, expected, "{windows:?} {rflags:#x} {blocking:#x}");
        assert!(machine.interrupts.vectors().eq([VECTOR]));
    }
}

#[test]
fn an_interrupt_window_does_not_end_a_shutdown() {
    const SHUTDOWN: u64 = 2;
    let mut machine = L2::new()
        .interruptible()
        .primary(PrimaryControls::INTERRUPT_WINDOW_EXITING)
        .with(Field::GuestActivityState, SHUTDOWN)
        .launch();
    assert!(matches!(machine.step().decision, Decision::Wait { .. }));
}

/// L2 is halted, with virtual-interrupt delivery and this vector in RVI.
fn halted_with_rvi(vector: u64) -> L2 {
    L2::new()
        .primary(PrimaryControls::USE_TPR_SHADOW)
        .secondary(SecondaryControls::VIRTUAL_INTERRUPT_DELIVERY)
        .pin(PinControls::EXTERNAL_INTERRUPT_EXITING)
        .with(Field::VirtualApicPageAddr, 0x30000)
        .with(Field::GuestActivityState, 1)
        .with(Field::GuestIntrStatus, vector)
}

#[test]
fn a_virtual_interrupt_ends_a_halt_if_l2_takes_it() {
    let step = |l2: L2, priority: u32| {
        let mut machine = l2.launch();
        machine
            .memory
            .write(0x30000 + 0xa0, &priority.to_le_bytes())
            .expect("memory");
        machine.step().decision
    };
    let is_woken = |decision| matches!(decision, Decision::L2(_));
    assert!(is_woken(step(halted_with_rvi(0x41).interruptible(), 0x30)));
    assert!(!is_woken(step(halted_with_rvi(0x41).interruptible(), 0x40)));
    assert!(!is_woken(step(halted_with_rvi(0x41), 0x30)), "IF is 0");
    assert!(!is_woken(step(halted_with_rvi(0).interruptible(), 0)));
}

#[test]
fn a_posted_interrupt_does_not_end_a_halt_with_interrupts_off() {
    let l2 = halted_with_rvi(0)
        .pin(PinControls::PROCESS_POSTED_INTERRUPTS)
        .exit(ExitControls::ACKNOWLEDGE_INTERRUPT_ON_EXIT)
        .with(Field::PostedIntrNv, NOTIFICATION.into())
        .with(Field::PostedIntrDescAddr, 0x31000);
    let mut machine = l2.launch();
    machine.memory.write(0x31000 + 8, &[2]).expect("memory");
    machine.interrupts.raise(NOTIFICATION);
    assert!(matches!(machine.step().decision, Decision::Wait { .. }));
    assert_eq!(machine.vmx.vmcs02().guest_intr_status(), 65);
}
