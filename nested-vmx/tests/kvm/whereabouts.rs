// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where a vCPU is, and who gets which event.

use kvm_bindings::kvm_vcpu_events;
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::interruption::{Event, EventType};
use nested_vmx::kvm::{
    Destination, Injection, NestedState, Obstacle, Place, SmmFlags, Source, Waiting,
};
use nested_vmx::l0::PendingException;
use nested_vmx::vmcs::Field;

use crate::facts::rows;
use crate::states::current;

fn none() -> kvm_vcpu_events {
    kvm_vcpu_events::default()
}

/// L2 is active, and L1 wants these: external interrupts, NMIs, page faults.
fn l2(run_pending: bool) -> NestedState {
    let mut state = current().in_guest_mode(run_pending);
    let vmcs12 = state.vmcs12_mut().expect("vmcs12");
    let pin = vmcs12.read(Field::PinBasedVmExecControl) | 1 | 1 << 3;
    vmcs12.write(Field::PinBasedVmExecControl, pin);
    vmcs12.write(Field::ExceptionBitmap, 1 << 14);
    state
}

#[test]
fn places() {
    let events = none();
    let place = |state: &NestedState, events| state.whereabouts(events).place;
    assert_eq!(place(&NestedState::off(), &events), Place::Off);
    assert_eq!(place(&current(), &events), Place::Root);
    assert_eq!(place(&l2(false), &events), Place::L2);
    let mut smm = none();
    smm.smi.smm = 1;
    let mut state = current();
    state.set_smm_flags(SmmFlags::all());
    assert_eq!(
        place(&state, &smm),
        Place::Smm {
            vmxon: true,
            l2: true
        }
    );
}

#[test]
fn injections() {
    let mut state = l2(true);
    assert_eq!(state.whereabouts(&none()).injection, None);
    let vmcs12 = state.vmcs12_mut().expect("vmcs12");
    vmcs12.write(Field::VmEntryIntrInfoField, 0x8000_0b0e);
    vmcs12.write(Field::VmEntryExceptionErrorCode, 2);
    let asked_for = Injection {
        event: Event::exception(14, Some(2)),
        source: Source::Vmcs12,
    };
    assert_eq!(state.whereabouts(&none()).injection, Some(asked_for));
    assert!(state.whereabouts(&none()).run_pending);

    // Once L2 has been entered, it is not injected again.
    let state = state.in_guest_mode(false);
    assert_eq!(state.whereabouts(&none()).injection, None);

    let events = |edit: fn(&mut kvm_vcpu_events)| {
        let mut events = none();
        edit(&mut events);
        events
    };
    let begun = [
        (
            events(|e| (e.exception.injected, e.exception.nr) = (1, 6)),
            Event::exception(6, None),
        ),
        (
            events(|e| (e.exception.injected, e.exception.nr) = (1, 3)),
            Event::new(EventType::SoftwareException, 3),
        ),
        (events(|e| e.nmi.injected = 1), Event::NMI),
        (
            events(|e| (e.interrupt.injected, e.interrupt.nr) = (1, 0x40)),
            Event::external_interrupt(0x40),
        ),
        (
            events(|e| (e.interrupt.injected, e.interrupt.nr, e.interrupt.soft) = (1, 0x80, 1)),
            Event::new(EventType::SoftwareInterrupt, 0x80),
        ),
    ];
    for (events, event) in begun {
        let source = Source::VcpuEvents;
        let injection = state.whereabouts(&events).injection;
        assert_eq!(injection, Some(Injection { event, source }));
    }
}

/// The event of a row in the kernel's order of tests.
fn waiting(name: &str) -> Option<Waiting> {
    let page_fault = PendingException::page_fault(0, 0);
    Some(match name {
        _ if name.starts_with("INIT") => Waiting::Init,
        _ if name.starts_with("exception_vmexit pending, not") => Waiting::Exception(page_fault),
        _ if name.starts_with("exception pending (no exit), not") => {
            Waiting::Exception(PendingException::fault(6, None))
        }
        _ if name.starts_with("MTF") => Waiting::MonitorTrap,
        _ if name.starts_with("exception pending (low-priority") => {
            Waiting::Exception(PendingException::debug_trap(1 << 14))
        }
        _ if name.starts_with("VMX-preemption") => Waiting::PreemptionTimer,
        _ if name.starts_with("SMI") => Waiting::Smi,
        _ if name.starts_with("NMI") => Waiting::Nmi,
        "interrupt: exiting on, ack-on-exit off" => Waiting::ExternalInterrupt(0x40),
        // Other controls, or no event that waits.
        _ => return None,
    })
}

#[test]
fn the_kernels_table_of_blocking() {
    let mut on_its_way = none();
    on_its_way.interrupt.injected = 1;
    let mut count = 0;
    for row in rows("event_priority_nested.tsv") {
        let Some(waiting) = waiting(&row["event"]) else {
            continue;
        };
        let blocked_by = |what| row["blocked_by"].split(',').any(|by| by == what);
        let pending = l2(true).destination(waiting, &none());
        let is_held = pending == Destination::Waits(Obstacle::RunPending);
        assert_eq!(is_held, blocked_by("R"), "{waiting:?}: {pending:?}");
        let busy = l2(false).destination(waiting, &on_its_way);
        let is_held = busy == Destination::Waits(Obstacle::EventOnItsWay);
        assert_eq!(is_held, blocked_by("J"), "{waiting:?}: {busy:?}");
        let free = l2(false).destination(waiting, &none());
        assert!(
            !matches!(free, Destination::Waits(_)),
            "{waiting:?}: {free:?}"
        );
        count += 1;
    }
    assert_eq!(count, 9);
}

#[test]
fn destinations_in_l2() {
    let state = l2(false);
    let to = |waiting| state.destination(waiting, &none());
    let exit = Destination::L1ByExit;
    assert_eq!(
        to(Waiting::ExternalInterrupt(0x40)),
        exit(ExitReason::EXTERNAL_INTERRUPT)
    );
    assert_eq!(to(Waiting::Nmi), exit(ExitReason::EXCEPTION_OR_NMI));
    assert_eq!(to(Waiting::Init), exit(ExitReason::INIT));
    assert_eq!(to(Waiting::Sipi(1)), Destination::Nobody);
    assert_eq!(to(Waiting::TripleFault), exit(ExitReason::TRIPLE_FAULT));
    assert_eq!(to(Waiting::Smi), Destination::Smm);
    let page_fault = Waiting::Exception(PendingException::page_fault(0, 0));
    assert_eq!(to(page_fault), exit(ExitReason::EXCEPTION_OR_NMI));
    let other = Waiting::Exception(PendingException::fault(6, None));
    assert_eq!(to(other), Destination::L2);

    // L1 does not want external interrupts.
    let mut state = current().in_guest_mode(false);
    let interrupt = Waiting::ExternalInterrupt(0x40);
    let vmcs12 = state.vmcs12_mut().expect("vmcs12");
    vmcs12.write(Field::GuestRflags, 2);
    let blocked = Destination::Waits(Obstacle::Blocked);
    assert_eq!(state.destination(interrupt, &none()), blocked);
    let vmcs12 = state.vmcs12_mut().expect("vmcs12");
    vmcs12.write(Field::GuestRflags, 0x202);
    assert_eq!(state.destination(interrupt, &none()), Destination::L2);
    let mut shadow = none();
    shadow.interrupt.shadow = 1;
    assert_eq!(state.destination(interrupt, &shadow), blocked);
    let mut masked = none();
    masked.nmi.masked = 1;
    assert_eq!(state.destination(Waiting::Nmi, &masked), blocked);
}

#[test]
fn destinations_in_l1() {
    let state = current();
    let to = |waiting| state.destination(waiting, &none());
    assert_eq!(to(Waiting::ExternalInterrupt(0x40)), Destination::L1);
    assert_eq!(to(Waiting::Init), Destination::Waits(Obstacle::Blocked));
    assert_eq!(to(Waiting::Smi), Destination::Smm);
    assert_eq!(to(Waiting::MonitorTrap), Destination::Nobody);
    let off = NestedState::off();
    assert_eq!(off.destination(Waiting::Init, &none()), Destination::L1);
    let mut smm = none();
    smm.smi.smm = 1;
    let blocked = Destination::Waits(Obstacle::Blocked);
    assert_eq!(off.destination(Waiting::Smi, &smm), blocked);
}
