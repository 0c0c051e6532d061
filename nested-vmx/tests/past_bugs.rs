// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Bugs of the past in hypervisors' nested event injection, by the commits that fixed them: one
//! test for each row of `facts/bugs_nested_event_injection.tsv`, which fails if the core does what
//! the bug did.
#![allow(clippy::expect_used, clippy::panic, reason = "a test may")]

mod facts;
mod support;

use nested_vmx::controls::{ExitControls, PinControls, PrimaryControls, SecondaryControls};
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::instruction_error::InstructionError;
use nested_vmx::interruption::{Event, EventType};
use nested_vmx::l0::{
    AfterExit, Decision, ExitInformation, Instruction, Operation, Outcome, PendingException, Run,
    SnapshotError,
};
use nested_vmx::memory::L1Memory;
use nested_vmx::model::{L2Instruction, Machine};
use nested_vmx::vmcs::{Field, LaunchState};
use support::{L2, capabilities, entered, seen_by_l1};

const HLT: u64 = 1;
const PAGE_FAULT: Event = Event::exception(14, Some(2));

/// An exit that L0 handles, and that interrupts the delivery of what is injected.
fn l0s_own() -> L2Instruction {
    L2Instruction::FailDelivery(ExitInformation::new(ExitReason::EPT_VIOLATION))
}

/// An L2 into which `event` is to be injected again, with nothing else pending.
fn reinjecting(l2: L2, event: Event) -> Machine {
    let mut machine = l2.inject(event).launch();
    machine.cpu.push(l0s_own());
    let stepped = machine.step();
    assert!(
        matches!(stepped.after, Some(AfterExit::L0(_))),
        "{stepped:?}"
    );
    assert_eq!(machine.vmx.injection(), Some(event));
    machine
}

fn launch_fails(l2: &L2) -> (Machine, Outcome) {
    let mut machine = Machine::with_vmcs(&capabilities(), &l2.0).expect("a VMCS");
    let outcome = machine.execute(Instruction::Vmlaunch);
    (machine, outcome)
}

macro_rules! bugs {
    ($($commit:literal $test:ident)*) => {
        const TESTS: &[(&str, fn())] = &[$(($commit, $test)),*];
    };
}

bugs! {
    "644d711aa0e1" l2_runs_once_before_an_event_of_l1
    "d6185f20a0ef" l2_executes_nothing_in_an_immediate_exit
    "3b656cf764cb" windows_of_l0_are_not_seen_by_l1
    "5f3d5799974b" an_undelivered_event_moves_to_idt_vectoring_and_is_gone
    "e0b890d35cdf" a_launch_that_fails_is_not_pending
    "4f350c6dbcb" a_launch_that_hardware_refuses_is_unwound
    "305d0ab4764d" an_exception_does_not_break_a_launch
    "acc9ab601327" an_event_of_l1_waits_for_a_reinjection
    "917dc6068bc1" a_reinjection_alone_asks_for_nothing
    "1a680e355c94" a_reinjection_with_an_event_of_l1_asks
    "851c1a18c541" an_exception_of_l2_does_not_reach_l1
    "f27a85c4988d" an_interrupt_before_the_entry_is_looked_at
    "2f707d979822" a_reset_ends_a_pending_entry
    "135a06c3a515" an_injection_ends_a_halt
    "9ebdfe5230f2" windows_end_a_halt
    "b5861e5cf2fc" an_interrupt_that_l1_held_off_is_taken_in_l2
    "4c008127e471" a_timer_of_0_runs_down_before_the_first_instruction
    "bc44121190ae" saving_the_timer_needs_the_timer
    "21be4ca1ea68" a_restore_that_fails_leaves_nothing_pending
    "5ef8acbdd687" an_emulated_instruction_traps_and_the_trap_moves
    "5c8beb474665" a_blocked_trap_is_not_lost
    "15ff0b450b65" an_nmi_for_l2_comes_before_an_interrupt_for_l1
    "1cd2f0b0dd92" an_smi_comes_first
    "db438592807e" nothing_is_pending_in_an_exit_handler
    "0f02bd0ade9a" the_timer_moves
    "f2c7ef3ba955" a_restored_l2_can_exit_before_it_is_entered
    "81f76adad560" a_pending_entry_moves_with_its_injection
    "d51e1d3f6b42" all_of_l2_is_in_a_snapshot_of_l1
    "f7782bb8d818" notifications_of_another_l2_are_not_processed
    "759cbd59674a" coming_back_from_smm_is_an_entry
    "4584666(xanmod 8d3a2aa0976f)" a_triple_fault_from_outside_exits
    "6c593b5276e6" a_reinjection_happens_although_an_immediate_exit_is_needed
    "72c14e00bdc4" exceptions_do_not_wait_for_a_reinjection
    "11776aa0cfa7" a_forced_exit_is_not_the_end_of_the_timer
    "7b3d1bbf8d68" a_timer_exit_of_l0_is_not_seen_by_l1
    "32f55e475ce2" a_virtual_interrupt_forces_nothing
    "cb14e454add0" without_a_vector_there_is_no_exit
    "c0095cef7303" a_failed_entry_keeps_the_injection_field
    "3d4470d71fbf" a_state_that_was_changed_in_between_is_refused
    "0aaedada606a" a_timer_far_away_is_cut
    "(Debian 7.2.13 changelog)" a_failed_restore_leaves_the_processor_as_it_was
}

/// Rows that are about something else than this core, with the reason.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "d264ee0c2ed2",
        "which mechanism forces the exit is the runner's to choose; this core asks, and counts on \
         nothing but the entry",
    ),
    (
        "9a78e15802a8",
        "enlightened VMCSs are not part of this core",
    ),
    (
        "0ec3d6d1f169",
        "an interface: here the request sink is a trait",
    ),
    ("2478b1b220c4", "an interface: here the request is typed"),
    (
        "f43f8a3ba9a6",
        "the table of priorities: see tests/event_priority.rs",
    ),
];

#[test]
fn every_bug_has_a_test() {
    let rows = facts::rows("bugs_nested_event_injection.tsv");
    assert_eq!(rows.len(), 46);
    for row in &rows {
        // One row gives two numbers of one commit.
        let commit = row["commit"].split(" (").next().expect("a part");
        let commit = match TESTS.iter().any(|(name, _)| *name == row["commit"]) {
            true => row["commit"].as_str(),
            false => commit,
        };
        let tested = TESTS.iter().filter(|(name, _)| *name == commit).count();
        let elsewhere = ELSEWHERE.iter().filter(|(name, _)| *name == commit).count();
        assert_eq!(tested + elsewhere, 1, "{}: {}", row["commit"], row["title"]);
    }
    assert_eq!(TESTS.len() + ELSEWHERE.len(), rows.len());
}

#[test]
fn l2_runs_once_before_an_event_of_l1() {
    let mut machine = L2::new().intercepting_all().launch();
    machine.interrupts.raise(0x40);
    assert!(matches!(machine.step().decision, Decision::L2(_)));
    assert_eq!(machine.cpu.entries(), 1);
    assert_eq!(machine.step().decision, Decision::L1);
}

#[test]
fn l2_executes_nothing_in_an_immediate_exit() {
    let mut machine = L2::new().intercepting_all().launch();
    machine.interrupts.raise(0x40);
    machine.cpu.push(L2Instruction::Nop);
    machine.step();
    machine.step();
    assert_eq!(machine.requests.0.get(), 1);
    assert_eq!(machine.cpu.instructions(), 0);
    assert_eq!(machine.vmx.vmcs12().guest_rip(), 0x4000);
}

#[test]
fn windows_of_l0_are_not_seen_by_l1() {
    // L2 takes interrupts and NMIs itself, and cannot now: L0 waits for it.
    let mut machine = L2::new().run();
    machine.interrupts.raise(0x40);
    machine.cpu.push(L2Instruction::Sti);
    machine.cpu.push(L2Instruction::Nop);
    let stepped = machine.step();
    assert!(entered(&stepped).interrupt_window);
    assert_eq!(stepped.after, Some(AfterExit::Nothing));
    assert_eq!(
        entered(&machine.step()).injection,
        Some(Event::external_interrupt(0x40))
    );

    let mut machine = L2::new().with(Field::GuestInterruptibilityInfo, 8).run();
    machine.vmx.pending_mut().nmi = true;
    machine.cpu.push(L2Instruction::Iret);
    let stepped = machine.step();
    assert!(entered(&stepped).nmi_window);
    assert_eq!(stepped.after, Some(AfterExit::Nothing));
    assert_eq!(entered(&machine.step()).injection, Some(Event::NMI));
}

#[test]
fn an_undelivered_event_moves_to_idt_vectoring_and_is_gone() {
    let mut machine = reinjecting(L2::new().intercepting_all(), PAGE_FAULT);
    // L0 finds that the violation is L1's.
    let mut violation = ExitInformation::new(ExitReason::EPT_VIOLATION);
    violation.qualification = 2;
    let after = machine.with_border(|vmx, border| vmx.reflect(&violation, border));
    assert_eq!(after, Ok(AfterExit::L1));
    assert_eq!(seen_by_l1(&machine).2, Some(PAGE_FAULT));
    assert_eq!(machine.vmx.injection(), None);
    // The next L2 gets nothing of it.
    assert_eq!(machine.execute(Instruction::Vmresume), Outcome::Entered);
    assert_eq!(entered(&machine.step()).injection, None);
    assert!(machine.cpu.delivered().is_empty());
}

#[test]
fn a_launch_that_fails_is_not_pending() {
    for (l2, expected) in [
        (
            L2::new().with(Field::PinBasedVmExecControl, 0),
            Outcome::FailValid(InstructionError::InvalidControls),
        ),
        (
            L2::new().with(Field::HostTrSelector, 0),
            Outcome::FailValid(InstructionError::InvalidHostState),
        ),
        (
            L2::new().with(Field::GuestRflags, 0),
            Outcome::EntryFailed(ExitReason::ENTRY_FAILURE_GUEST_STATE.entry_failure()),
        ),
    ] {
        let (mut machine, outcome) = launch_fails(&l2);
        assert_eq!(outcome, expected);
        assert!(matches!(machine.vmx.operation(), Operation::Root(_)));
        machine.interrupts.raise(0x40);
        assert_eq!(machine.step().decision, Decision::L1);
        assert_eq!(machine.requests.0.get(), 0);
    }
}

#[test]
fn a_launch_that_hardware_refuses_is_unwound() {
    let l2 = L2::new().intercepting_all().inject(PAGE_FAULT);
    let mut machine = l2.launch();
    machine.interrupts.raise(0x40);
    let l1_rip = machine.vmx.vmcs01().guest_rip();
    machine.cpu.push(L2Instruction::Refuse);
    let error = InstructionError::InvalidControls;
    assert_eq!(machine.step().after, Some(AfterExit::EntryUnwound(error)));
    assert!(matches!(machine.vmx.operation(), Operation::Root(_)));
    assert_eq!(machine.vmx.vmcs12().launch_state(), LaunchState::Clear);
    let mut expected = l2.0.clone();
    expected.write(Field::VmInstructionError, 7);
    assert_eq!(*machine.vmx.vmcs12(), expected, "nothing else changed");
    assert_eq!(machine.cpu.state().guest_rip(), l1_rip);
    // It can be launched again, with its injection.
    assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
    assert_eq!(entered(&machine.step()).injection, Some(PAGE_FAULT));
}

#[test]
fn an_exception_does_not_break_a_launch() {
    let injection = Event::exception(6, None);
    let mut machine = L2::new()
        .with(Field::ExceptionBitmap, 1 << 14)
        .inject(injection)
        .launch();
    machine
        .vmx
        .raise_exception(PendingException::page_fault(2, 0x99))
        .expect("L2 is active");
    assert_eq!(entered(&machine.step()).injection, Some(injection));
    assert!(machine.vmx.operation().is_non_root());
    assert_eq!(machine.step().decision, Decision::L1);
    assert_eq!(seen_by_l1(&machine).1, Some(PAGE_FAULT));
}

#[test]
fn an_event_of_l1_waits_for_a_reinjection() {
    let mut machine = reinjecting(L2::new().intercepting_all(), PAGE_FAULT);
    machine.vmx.pending_mut().nmi = true;
    assert_eq!(entered(&machine.step()).injection, Some(PAGE_FAULT));
    assert_eq!(machine.cpu.delivered(), [PAGE_FAULT]);
    assert_eq!(machine.step().decision, Decision::L1);
    assert_eq!(seen_by_l1(&machine), (0, Some(Event::NMI), None));
}

#[test]
fn a_reinjection_alone_asks_for_nothing() {
    let mut machine = reinjecting(L2::new().intercepting_all(), PAGE_FAULT);
    // Masked, so no event really wants an exit.
    machine.interrupts.raise(0x40);
    machine.interrupts.set_masked(true);
    assert!(!entered(&machine.step()).immediate_exit);
    assert_eq!(machine.requests.0.get(), 0);
}

#[test]
fn a_reinjection_with_an_event_of_l1_asks() {
    let mut machine = reinjecting(L2::new().intercepting_all(), PAGE_FAULT);
    machine.interrupts.raise(0x40);
    assert!(entered(&machine.step()).immediate_exit);
    assert_eq!(machine.requests.0.get(), 1);
    assert_eq!(machine.step().decision, Decision::L1);
}

#[test]
fn an_exception_of_l2_does_not_reach_l1() {
    let mut machine = L2::new().intercepting_all().run();
    machine
        .vmx
        .raise_exception(PendingException::fault(6, None))
        .expect("L2 is active");
    machine.vmx.pending_mut().init = true;
    assert_eq!(machine.step().decision, Decision::L1);
    assert_eq!(seen_by_l1(&machine).0, ExitReason::INIT.0);
    assert_eq!(machine.vmx.pending().exception, None);
    assert_eq!(machine.vmx.injection(), None);
}

#[test]
fn an_interrupt_before_the_entry_is_looked_at() {
    let mut machine = L2::new().intercepting_all().run();
    let before = machine.with_border(|vmx, border| vmx.before_entry(border));
    assert!(matches!(before, Decision::L2(_)));
    machine.interrupts.raise(0x40);
    let again = machine.with_border(|vmx, border| vmx.before_entry(border));
    assert_eq!(again, Decision::L1);
    assert_eq!(seen_by_l1(&machine).0, 1);
}

#[test]
fn a_reset_ends_a_pending_entry() {
    let mut machine = L2::new().intercepting_all().inject(PAGE_FAULT).launch();
    machine.with_border(|vmx, border| vmx.reset(border));
    assert_eq!(machine.vmx.operation(), Operation::Off);
    machine.interrupts.raise(0x40);
    assert_eq!(machine.step().decision, Decision::L1);
    assert_eq!(machine.vmx.injection(), None);
    assert_eq!(machine.requests.0.get(), 0);
}

#[test]
fn an_injection_ends_a_halt() {
    let injection = Event::external_interrupt(0x31);
    let mut machine = L2::new()
        .interruptible()
        .with(Field::GuestActivityState, HLT)
        .inject(injection)
        .launch();
    assert_eq!(entered(&machine.step()).injection, Some(injection));
    assert_eq!(machine.cpu.delivered(), [injection]);
    // Without one it halts.
    let mut machine = L2::new().with(Field::GuestActivityState, HLT).launch();
    assert!(matches!(machine.step().decision, Decision::Wait { .. }));
}

#[test]
fn windows_end_a_halt() {
    let halted = || L2::new().with(Field::GuestActivityState, HLT);
    let mut machine = halted()
        .interruptible()
        .primary(PrimaryControls::INTERRUPT_WINDOW_EXITING)
        .launch();
    assert_eq!(machine.step().decision, Decision::L1);
    assert_eq!(seen_by_l1(&machine).0, ExitReason::INTERRUPT_WINDOW.0);
    let mut machine = halted()
        .pin(PinControls::NMI_EXITING | PinControls::VIRTUAL_NMIS)
        .primary(PrimaryControls::NMI_WINDOW_EXITING)
        .launch();
    assert_eq!(machine.step().decision, Decision::L1);
    assert_eq!(seen_by_l1(&machine).0, ExitReason::NMI_WINDOW.0);
    assert_eq!(machine.vmx.vmcs12().guest_activity_state(), 1);
    // A window that is not open does not.
    let mut machine = halted()
        .primary(PrimaryControls::INTERRUPT_WINDOW_EXITING)
        .launch();
    assert!(matches!(machine.step().decision, Decision::Wait { .. }));
}

#[test]
fn an_interrupt_that_l1_held_off_is_taken_in_l2() {
    let l2 = L2::new().intercepting_all();
    let mut machine = Machine::with_vmcs(&capabilities(), &l2.0).expect("a VMCS");
    // L1 has interrupts off, so it waits.
    machine.interrupts.raise(0x40);
    assert_eq!(machine.step().decision, Decision::L1);
    assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
    assert!(entered(&machine.step()).immediate_exit);
    assert_eq!(machine.step().decision, Decision::L1);
    assert_eq!(
        seen_by_l1(&machine).1,
        Some(Event::external_interrupt(0x40))
    );
}

#[test]
fn a_timer_of_0_runs_down_before_the_first_instruction() {
    let timer = |value| {
        L2::new()
            .pin(PinControls::PREEMPTION_TIMER)
            .with(Field::VmxPreemptionTimerValue, value)
            .inject(PAGE_FAULT)
            .launch()
    };
    let mut machine = timer(0);
    machine.cpu.push(L2Instruction::Nop);
    assert!(entered(&machine.step()).immediate_exit);
    assert_eq!(machine.step().decision, Decision::L1);
    assert_eq!(
        seen_by_l1(&machine),
        (ExitReason::PREEMPTION_TIMER.0, None, None)
    );
    assert_eq!(machine.cpu.delivered(), [PAGE_FAULT], "but L2 was entered");
    assert_eq!(machine.cpu.instructions(), 0);

    let mut machine = timer(1);
    machine.cpu.push(L2Instruction::Nop);
    let how = entered(&machine.step());
    assert_eq!((how.immediate_exit, how.preemption_timer), (false, Some(1)));
    assert_eq!(machine.cpu.instructions(), 1);
    let rate = capabilities().misc.preemption_timer_rate();
    machine.clock.0.set(1 << rate);
    assert_eq!(machine.step().decision, Decision::L1);
}

#[test]
fn saving_the_timer_needs_the_timer() {
    let l2 = L2::new().exit(ExitControls::SAVE_PREEMPTION_TIMER);
    let (_, outcome) = launch_fails(&l2);
    assert_eq!(
        outcome,
        Outcome::FailValid(InstructionError::InvalidControls)
    );
    let l2 = l2.pin(PinControls::PREEMPTION_TIMER);
    assert_eq!(launch_fails(&l2).1, Outcome::Entered);
}

/// A snapshot of an L2 whose entry is pending.
fn pending_snapshot(l2: &L2) -> nested_vmx::l0::Snapshot {
    let mut machine = l2.launch();
    machine.with_border(|vmx, border| vmx.save(border))
}

#[test]
fn a_restore_that_fails_leaves_nothing_pending() {
    let mut snapshot = pending_snapshot(&L2::new().intercepting_all());
    snapshot.vmcs12.write(Field::GuestRflags, 0);
    let mut machine = Machine::new(&capabilities());
    let restored = machine.with_border(|vmx, border| vmx.restore(&snapshot, border));
    assert!(
        matches!(restored, Err(SnapshotError::Unenterable(_))),
        "{restored:?}"
    );
    assert!(!machine.vmx.operation().is_run_pending());
    machine.interrupts.raise(0x40);
    assert_eq!(machine.step().decision, Decision::L1);
    assert_eq!(machine.requests.0.get(), 0);
}

/// A VMRESUME that is pending, and moved, and then fails in the hardware leaves a VMCS that is still
/// launched.
#[test]
fn a_vmresume_that_moves_and_fails_leaves_the_vmcs_launched() {
    let mut machine = L2::new().launch();
    machine
        .cpu
        .push(L2Instruction::Exit(ExitInformation::new(ExitReason::CPUID)));
    machine.step();
    assert!(!machine.vmx.operation().is_non_root());
    assert_eq!(machine.execute(Instruction::Vmresume), Outcome::Entered);
    let snapshot = machine.with_border(|vmx, border| vmx.save(border));

    let mut target = Machine::new(&capabilities());
    target
        .with_border(|vmx, border| vmx.restore(&snapshot, border))
        .expect("a good snapshot");
    target.cpu.push(L2Instruction::Refuse);
    let after = target.step().after;
    let unwound = AfterExit::EntryUnwound(InstructionError::InvalidControls);
    assert_eq!(after, Some(unwound));
    assert_eq!(target.vmx.vmcs12().launch_state(), LaunchState::Launched);
}

#[test]
fn an_emulated_instruction_traps_and_the_trap_moves() {
    let l2 = L2::new().primary(PrimaryControls::MONITOR_TRAP_FLAG);
    let mut machine = l2.launch();
    machine.cpu.push(L2Instruction::Exit(ExitInformation::new(
        ExitReason::EPT_VIOLATION,
    )));
    machine.step();
    machine.vmx.instruction_emulated();
    let snapshot = machine.with_border(|vmx, border| vmx.save(border));
    assert!(snapshot.pending.monitor_trap);

    let mut target = Machine::new(&capabilities());
    target
        .with_border(|vmx, border| vmx.restore(&snapshot, border))
        .expect("a good snapshot");
    for mut machine in [machine, target] {
        assert_eq!(machine.step().decision, Decision::L1);
        assert_eq!(seen_by_l1(&machine).0, ExitReason::MONITOR_TRAP_FLAG.0);
        assert!(!machine.vmx.pending().monitor_trap);
    }
}

#[test]
fn a_blocked_trap_is_not_lost() {
    // The event that L1 injects is a monitor trap: it comes after the entry.
    let mut machine = L2::new().inject(Event::new(EventType::Other, 0)).launch();
    for _ in 0..3 {
        let decision = machine.with_border(|vmx, border| vmx.before_entry(border));
        assert!(matches!(decision, Decision::L2(how) if how.immediate_exit));
        assert!(machine.vmx.pending().monitor_trap);
    }
    assert_eq!(machine.requests.0.get(), 1, "one entry, one request");
    machine.step();
    assert_eq!(machine.step().decision, Decision::L1);
    assert_eq!(seen_by_l1(&machine).0, ExitReason::MONITOR_TRAP_FLAG.0);
    assert_eq!(machine.cpu.instructions(), 0);
}

#[test]
fn an_nmi_for_l2_comes_before_an_interrupt_for_l1() {
    let mut machine = L2::new().pin(PinControls::EXTERNAL_INTERRUPT_EXITING).run();
    machine.vmx.pending_mut().nmi = true;
    machine.interrupts.raise(0x40);
    let how = entered(&machine.step());
    assert_eq!(how.injection, Some(Event::NMI));
    assert!(how.immediate_exit, "the interrupt comes next");
    assert_eq!(machine.step().decision, Decision::L1);
    assert_eq!(machine.cpu.delivered(), [Event::NMI]);
    assert_eq!(seen_by_l1(&machine).0, 1);
}

#[test]
fn an_smi_comes_first() {
    let mut machine = L2::new().intercepting_all().run();
    machine.vmx.pending_mut().smi = true;
    machine.vmx.pending_mut().nmi = true;
    machine.interrupts.raise(0x40);
    assert_eq!(machine.step().decision, Decision::Smm);
    assert!(machine.vmx.pending().nmi);
    assert_eq!(machine.interrupts.waiting(), 1);
    // In SMM neither of them is taken for L2.
    machine.with_border(|vmx, border| vmx.enter_smm(border));
    assert_eq!(machine.step().decision, Decision::L1);
    assert!(machine.vmx.pending().nmi);
}

#[test]
fn nothing_is_pending_in_an_exit_handler() {
    for instruction in [
        L2Instruction::Nop,
        L2Instruction::Exit(ExitInformation::new(ExitReason::EPT_VIOLATION)),
        l0s_own(),
        L2Instruction::Hlt,
        L2Instruction::FailEntry(ExitReason::ENTRY_FAILURE_GUEST_STATE, 0),
        L2Instruction::Refuse,
        L2Instruction::Exit(ExitInformation::new(ExitReason::CPUID)),
    ] {
        let mut machine = L2::new().inject(PAGE_FAULT).launch();
        assert!(machine.vmx.operation().is_run_pending());
        machine.cpu.push(instruction);
        machine.step();
        assert!(!machine.vmx.operation().is_run_pending(), "{instruction:?}");
    }
}

#[test]
fn the_timer_moves() {
    let mut machine = L2::new()
        .pin(PinControls::PREEMPTION_TIMER)
        .with(Field::VmxPreemptionTimerValue, 100)
        .run();
    let rate = capabilities().misc.preemption_timer_rate();
    machine.clock.0.set(30 << rate);
    let snapshot = machine.with_border(|vmx, border| vmx.save(border));
    assert_eq!(snapshot.preemption_timer, Some(70));
    let mut target = Machine::new(&capabilities());
    // Another machine's clock shows another time.
    target.clock.0.set(5000 << rate);
    target
        .with_border(|vmx, border| vmx.restore(&snapshot, border))
        .expect("a good snapshot");
    assert_eq!(entered(&target.step()).preemption_timer, Some(70));
    target.clock.0.set(5070 << rate);
    assert_eq!(target.step().decision, Decision::L1);
    assert_eq!(seen_by_l1(&target).0, ExitReason::PREEMPTION_TIMER.0);
}

#[test]
fn a_restored_l2_can_exit_before_it_is_entered() {
    let mut machine = L2::new().intercepting_all().run();
    machine.cpu.push(L2Instruction::Nop);
    machine.step();
    let snapshot = machine.with_border(|vmx, border| vmx.save(border));
    let mut target = Machine::new(&capabilities());
    target
        .with_border(|vmx, border| vmx.restore(&snapshot, border))
        .expect("a good snapshot");
    target.interrupts.raise(0x40);
    assert_eq!(target.step().decision, Decision::L1);
    assert_eq!(seen_by_l1(&target).0, 1);
    assert_eq!(target.cpu.entries(), 0);
    assert_eq!(target.vmx.vmcs12().guest_rip(), 0x4001);
}

#[test]
fn a_pending_entry_moves_with_its_injection() {
    let snapshot = pending_snapshot(&L2::new().intercepting_all().inject(PAGE_FAULT));
    let mut target = Machine::new(&capabilities());
    target
        .with_border(|vmx, border| vmx.restore(&snapshot, border))
        .expect("a good snapshot");
    assert!(target.vmx.operation().is_run_pending());
    target.interrupts.raise(0x40);
    let how = entered(&target.step());
    assert!(how.immediate_exit);
    assert_eq!(target.cpu.delivered(), [PAGE_FAULT]);

    // Once it was entered, the event is not injected again.
    let snapshot = target.with_border(|vmx, border| vmx.save(border));
    let mut third = Machine::new(&capabilities());
    third
        .with_border(|vmx, border| vmx.restore(&snapshot, border))
        .expect("a good snapshot");
    assert_eq!(entered(&third.step()).injection, None);
    assert!(third.cpu.delivered().is_empty());
}

#[test]
fn all_of_l2_is_in_a_snapshot_of_l1() {
    let mut machine = L2::new().intercepting_all().run();
    let rarely_read = [
        Field::GuestEsBase,
        Field::GuestGdtrLimit,
        Field::GuestSysenterEip,
        Field::GuestTrBase,
        Field::GuestLdtrLimit,
    ];
    for (value, field) in (0x100..).zip(rarely_read) {
        machine.cpu.state_mut().write(field, value);
    }
    machine.interrupts.raise(0x40);
    assert_eq!(machine.step().decision, Decision::L1);
    let snapshot = machine.with_border(|vmx, border| vmx.save(border));
    for (value, field) in (0x100..).zip(rarely_read) {
        assert_eq!(snapshot.vmcs12.read(field), value, "{field}");
    }
}

/// Posted interrupts with notification vector 0xf2, at this descriptor.
fn posted(descriptor: u64) -> L2 {
    L2::new()
        .intercepting_all()
        .pin(PinControls::PROCESS_POSTED_INTERRUPTS)
        .primary(PrimaryControls::USE_TPR_SHADOW)
        .secondary(SecondaryControls::VIRTUAL_INTERRUPT_DELIVERY)
        .with(Field::VirtualApicPageAddr, 0x30000)
        .with(Field::PostedIntrNv, 0xf2)
        .with(Field::PostedIntrDescAddr, descriptor)
}

#[test]
fn notifications_of_another_l2_are_not_processed() {
    let mut machine = posted(0x31000).run();
    machine.interrupts.raise(0xf2);
    machine
        .cpu
        .push(L2Instruction::Exit(ExitInformation::new(ExitReason::CPUID)));
    machine.step();
    assert!(!machine.vmx.operation().is_non_root());
    assert_eq!(machine.interrupts.acknowledged(), [0xf2]);
    // The L2 that comes now has requests posted, and nobody notified it.
    let other = posted(0x32000);
    machine
        .memory
        .write(0x12000, other.0.as_bytes())
        .expect("memory");
    machine.memory.write(0x32000 + 8, &[2]).expect("memory");
    let pointer = nested_vmx::model::Value::of(0x12000);
    assert_eq!(
        machine.execute(Instruction::Vmptrld(&pointer)),
        Outcome::Succeed
    );
    assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
    machine.step();
    assert_eq!(machine.memory.read_u64(0x32000 + 8), Ok(2));
    // Then it is notified.
    machine.interrupts.raise(0xf2);
    machine.step();
    assert_eq!(machine.memory.read_u64(0x32000 + 8), Ok(0));
    assert_eq!(machine.vmx.vmcs02().guest_intr_status(), 65);
    assert_eq!(machine.memory.read_u32(0x30000 + 0x220), Ok(2), "VIRR");
}

#[test]
fn coming_back_from_smm_is_an_entry() {
    let mut machine = L2::new().intercepting_all().run();
    machine.cpu.push(L2Instruction::Nop);
    machine.step();
    machine.vmx.pending_mut().smi = true;
    assert_eq!(machine.step().decision, Decision::Smm);
    machine.with_border(|vmx, border| vmx.enter_smm(border));
    assert_eq!(machine.vmx.operation(), Operation::Off);
    machine.with_border(|vmx, border| vmx.leave_smm(border));
    let Operation::NonRoot(l2) = machine.vmx.operation() else {
        panic!("L2 is active");
    };
    assert_eq!(l2.run, Run::Pending);
    assert_eq!(machine.cpu.state().guest_rip(), 0x4001);
    machine.interrupts.raise(0x40);
    assert!(entered(&machine.step()).immediate_exit);
    assert_eq!(machine.step().decision, Decision::L1);
}

#[test]
fn a_triple_fault_from_outside_exits() {
    for injection in [None, Some(PAGE_FAULT)] {
        let l2 = L2::new();
        let mut machine = match injection {
            None => l2.run(),
            Some(event) => l2.inject(event).launch(),
        };
        machine.vmx.pending_mut().triple_fault = true;
        let last = machine.run(3).expect("L1 runs soon");
        assert_eq!(last.decision, Decision::L1);
        assert_eq!(seen_by_l1(&machine).0, ExitReason::TRIPLE_FAULT.0);
        assert!(!machine.vmx.pending().triple_fault);
    }
}

#[test]
fn a_reinjection_happens_although_an_immediate_exit_is_needed() {
    let mut machine = reinjecting(L2::new().intercepting_all(), PAGE_FAULT);
    machine.vmx.pending_mut().init = true;
    let how = entered(&machine.step());
    assert!(how.immediate_exit);
    assert_eq!(how.injection, Some(PAGE_FAULT));
    assert_eq!(machine.cpu.delivered(), [PAGE_FAULT]);
}

#[test]
fn exceptions_do_not_wait_for_a_reinjection() {
    let interrupt = Event::external_interrupt(0x31);
    let l2 = || {
        L2::new()
            .interruptible()
            .with(Field::ExceptionBitmap, 1 << 14)
    };
    let mut machine = reinjecting(l2(), interrupt);
    machine
        .vmx
        .raise_exception(PendingException::page_fault(2, 0x99))
        .expect("L2 is active");
    assert_eq!(machine.step().decision, Decision::L1);
    assert_eq!(seen_by_l1(&machine), (0, Some(PAGE_FAULT), Some(interrupt)));
    assert_eq!(machine.cpu.entries(), 1, "it was not entered again before");

    // Two page faults that L1 does not want are a double fault.
    let mut machine = reinjecting(L2::new(), PAGE_FAULT);
    machine
        .vmx
        .raise_exception(PendingException::page_fault(2, 0x99))
        .expect("L2 is active");
    assert_eq!(
        entered(&machine.step()).injection,
        Some(Event::exception(8, Some(0)))
    );
}

#[test]
fn a_forced_exit_is_not_the_end_of_the_timer() {
    let mut machine = L2::new()
        .intercepting_all()
        .pin(PinControls::PREEMPTION_TIMER)
        .with(Field::VmxPreemptionTimerValue, 100)
        .inject(PAGE_FAULT)
        .launch();
    machine.interrupts.raise(0x40);
    assert!(entered(&machine.step()).immediate_exit);
    assert_eq!(machine.step().decision, Decision::L1);
    assert_eq!(seen_by_l1(&machine).0, 1, "the interrupt, not the timer");
}

#[test]
fn a_timer_exit_of_l0_is_not_seen_by_l1() {
    let timer = L2Instruction::Exit(ExitInformation::new(ExitReason::PREEMPTION_TIMER));
    let without = L2::new();
    let with = L2::new()
        .pin(PinControls::PREEMPTION_TIMER)
        .with(Field::VmxPreemptionTimerValue, 100);
    for l2 in [without, with] {
        let mut machine = l2.launch();
        machine.cpu.push(timer);
        assert_eq!(machine.step().after, Some(AfterExit::Nothing));
        assert!(matches!(machine.step().decision, Decision::L2(_)));
    }
}

#[test]
fn a_virtual_interrupt_forces_nothing() {
    let mut machine = posted(0x31000)
        .with(Field::GuestIntrStatus, 0x41)
        .inject(PAGE_FAULT)
        .launch();
    for _ in 0..5 {
        assert!(!entered(&machine.step()).immediate_exit);
    }
    assert_eq!(machine.requests.0.get(), 0);
}

#[test]
fn without_a_vector_there_is_no_exit() {
    let mut machine = L2::new().intercepting_all().run();
    machine.interrupts.raise(0x40);
    machine.interrupts.set_masked(true);
    assert!(matches!(machine.step().decision, Decision::L2(_)));
    assert!(machine.interrupts.acknowledged().is_empty());
}

#[test]
fn a_failed_entry_keeps_the_injection_field() {
    let l2 = L2::new().with(Field::GuestRflags, 0).inject(PAGE_FAULT);
    let (machine, _) = launch_fails(&l2);
    let field = machine.vmx.vmcs12().vm_entry_intr_info_field();
    assert_eq!(field, PAGE_FAULT.information());
    assert_eq!(machine.vmx.injection(), None);
    // A real exit clears bit 31 of it.
    let mut machine = L2::new().intercepting_all().inject(PAGE_FAULT).launch();
    machine.interrupts.raise(0x40);
    machine.run(3);
    let field = machine.vmx.vmcs12().vm_entry_intr_info_field();
    assert_eq!(field, PAGE_FAULT.information() & 0x7fff_ffff);
}

#[test]
fn a_state_that_was_changed_in_between_is_refused() {
    // Between the launch and the entry, something made L2's state invalid: the failure is reported
    // as that of the entry, and nothing stays pending.
    let mut machine = L2::new().inject(PAGE_FAULT).launch();
    machine.cpu.push(L2Instruction::FailEntry(
        ExitReason::ENTRY_FAILURE_GUEST_STATE,
        0,
    ));
    assert_eq!(machine.step().after, Some(AfterExit::L1));
    let reason = machine.vmx.vmcs12().vm_exit_reason();
    assert_eq!(
        reason,
        ExitReason::ENTRY_FAILURE_GUEST_STATE.entry_failure().0
    );
    assert!(!machine.vmx.operation().is_run_pending());
    // After the entry it is L0's own mistake, not L1's VMLAUNCH that fails.
    let mut machine = L2::new().run();
    machine.cpu.push(L2Instruction::Refuse);
    let error = InstructionError::InvalidControls;
    assert_eq!(
        machine.step().after,
        Some(AfterExit::HardwareRefused(error))
    );
}

#[test]
fn a_timer_far_away_is_cut() {
    let mut snapshot = {
        let mut machine = L2::new()
            .pin(PinControls::PREEMPTION_TIMER)
            .with(Field::VmxPreemptionTimerValue, u32::MAX.into())
            .run();
        machine.with_border(|vmx, border| vmx.save(border))
    };
    snapshot.preemption_timer = Some(u64::MAX);
    let mut target = Machine::new(&capabilities());
    target
        .with_border(|vmx, border| vmx.restore(&snapshot, border))
        .expect("a good snapshot");
    assert_eq!(entered(&target.step()).preemption_timer, Some(u32::MAX));
}

#[test]
fn a_failed_restore_leaves_the_processor_as_it_was() {
    let mut snapshot = pending_snapshot(&L2::new());
    snapshot.vmcs12.set_header(1, false);
    let mut machine = L2::new().intercepting_all().run();
    let before = machine.with_border(|vmx, border| vmx.save(border));
    let restored = machine.with_border(|vmx, border| vmx.restore(&snapshot, border));
    assert!(matches!(
        restored,
        Err(SnapshotError::Revision { found: 1, .. })
    ));
    assert_eq!(machine.with_border(|vmx, border| vmx.save(border)), before);
    assert!(matches!(machine.step().decision, Decision::L2(_)));
}

#[test]
fn what_smm_interrupted_is_checked_too() {
    let mut machine = L2::new().run();
    machine.with_border(|vmx, border| vmx.enter_smm(border));
    let good = machine.with_border(|vmx, border| vmx.save(border));
    let mut target = Machine::new(&capabilities());
    assert_eq!(
        target.with_border(|vmx, border| vmx.restore(&good, border)),
        Ok(())
    );
    let mut bad = good;
    bad.vmcs12
        .write(Field::PinBasedVmExecControl, u32::MAX.into());
    let restored = target.with_border(|vmx, border| vmx.restore(&bad, border));
    assert!(
        matches!(restored, Err(SnapshotError::Unenterable(_))),
        "{restored:?}"
    );
}

#[test]
fn a_snapshot_does_not_change_what_is_l0s() {
    let mut snapshot = pending_snapshot(&L2::new());
    snapshot.l1.write(Field::GuestPmlIndex, 7);
    snapshot.l1.write(Field::VmxPreemptionTimerValue, 7);
    let mut target = Machine::new(&capabilities());
    target.vmx.vmcs01_mut().write(Field::GuestPmlIndex, 511);
    target
        .with_border(|vmx, border| vmx.restore(&snapshot, border))
        .expect("a good snapshot");
    assert_eq!(target.vmx.vmcs01().guest_pml_index(), 511);
    assert_eq!(target.vmx.vmcs01().vmx_preemption_timer_value(), 0);
}

#[test]
fn a_timer_is_restored_if_it_is_on() {
    let on = L2::new()
        .pin(PinControls::PREEMPTION_TIMER)
        .with(Field::VmxPreemptionTimerValue, 50);
    for (l2, saved, expected) in [(L2::new(), Some(0), None), (on, None, Some(50))] {
        let mut snapshot = pending_snapshot(&l2);
        snapshot.preemption_timer = saved;
        let mut target = Machine::new(&capabilities());
        target
            .with_border(|vmx, border| vmx.restore(&snapshot, border))
            .expect("a good snapshot");
        assert_eq!(entered(&target.step()).preemption_timer, expected);
    }
}
