// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Entries that are not made: why not, and that nothing is lost.

use std::sync::Arc;

use guest_programs::{Handlers, Mode, Program};
use kvm_bindings::kvm_lapic_state;
use vcpu_runner::kvm::KvmVcpu;
use vcpu_runner::kvm::immediate_exit::{ImmediateExitSetUp, Mechanism, MechanismOrder, Pic};
use vcpu_runner::{
    BriefError, BriefRun, Error, Injection, KickSignal, NotEntered, SkipFlag, UnusableSignal, Vcpu,
};

use crate::machine::{Event, Machine, kvm};

fn refusal(vcpu: &mut KvmVcpu) -> NotEntered {
    match vcpu.run_briefly() {
        Err(BriefError::NotEntered(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_vcpu_that_was_not_set_up_says_so() {
    let Some(kvm) = kvm("a_vcpu_that_was_not_set_up_says_so") else {
        return;
    };
    let vm = kvm.create_vm().unwrap();
    let mut vcpu = KvmVcpu::new(&kvm, vm.create_vcpu(0).unwrap()).unwrap();
    let why = refusal(&mut vcpu);
    assert_eq!(why, NotEntered::NotSetUp);
    assert!(why.to_string().contains("set_up_immediate_exit"), "{why}");
}

/// A timer settles where it misses at times; with one attempt each miss is an error.
#[test]
fn the_bound_of_attempts_is_an_error_and_the_event_waits() {
    let test = "the_bound_of_attempts_is_an_error_and_the_event_waits";
    let Some(machine) = Machine::new(test, Mode::Long, Handlers::Short, false) else {
        return;
    };
    let order = MechanismOrder::only(Mechanism::BlockedSignal);
    let mut vcpu = machine.vcpu_with(0, Program::Spin, order, |set_up| set_up.attempts(1));
    let mut missed = 0;
    for _ in 0..5000 {
        machine.restart(&vcpu, Program::Spin);
        machine.inject(&vcpu, Event::Interrupt(0x60));
        match vcpu.run_briefly() {
            Ok(BriefRun::Entered { .. }) => continue,
            Err(BriefError::NotEntered(why @ NotEntered::Missed { attempts: 1, .. })) => {
                assert!(
                    why.to_string().contains("not entered in 1 attempts"),
                    "{why}"
                );
            }
            other => panic!("{other:?}"),
        }
        missed += 1;
        let events = vcpu.fd().get_vcpu_events().unwrap();
        assert_eq!((events.interrupt.injected, events.interrupt.nr), (1, 0x60));
        // Asked again until it is made, the event is there, once.
        while vcpu.run_briefly().is_err() {}
        let regs = vcpu.fd().get_regs().unwrap();
        let counted = machine.guest.count(&machine.memory, 0x60).unwrap();
        assert!(counted <= 1 && (counted == 1 || machine.guest.executed(0x60, &regs).is_some()));
        if missed == 20 {
            break;
        }
    }
    assert!(missed > 0, "it never missed");
}

#[test]
fn a_skip_flag_that_is_set_comes_first() {
    let Some(machine) = Machine::new(
        "a_skip_flag_that_is_set_comes_first",
        Mode::Long,
        Handlers::Short,
        false,
    ) else {
        return;
    };
    for &mechanism in Mechanism::ALL {
        let index = mechanism as u64;
        let mut vcpu = machine.vcpu(index, Program::Spin, MechanismOrder::only(mechanism));
        machine.inject(&vcpu, Event::Nmi);
        let flag = vcpu.skip_flag();
        flag.set();
        assert_eq!(vcpu.run_briefly().unwrap_err(), BriefError::Skipped);
        assert_eq!(vcpu.fd().get_vcpu_events().unwrap().nmi.pending, 1);
    }
}

#[test]
fn each_mechanism_says_what_it_lacks() {
    let test = "each_mechanism_says_what_it_lacks";
    let Some(machine) = Machine::new(test, Mode::Long, Handlers::Short, false) else {
        return;
    };
    let mut index = 0;
    let mut refused = |mechanism, program, event: Option<Event>| {
        let mut vcpu = machine.vcpu(index, program, MechanismOrder::only(mechanism));
        index += 1;
        if let Some(event) = event {
            machine.inject(&vcpu, event);
        }
        refusal(&mut vcpu).to_string()
    };
    let window = Mechanism::InterruptWindow;
    for (mechanism, program, event, reason) in [
        (
            Mechanism::StepAndBreakpoint,
            Program::Spin,
            None,
            "no event",
        ),
        (window, Program::Masked, None, "takes no interrupts"),
        (window, Program::Spin, Some(Event::Nmi), "an event is to be"),
    ] {
        let why = refused(mechanism, program, event);
        assert!(why.contains(reason), "{why}");
        assert!(why.contains(mechanism.name()), "{why}");
    }
    // A table of handlers that ends before the vector.
    let mut vcpu = machine.vcpu(
        index,
        Program::Spin,
        MechanismOrder::only(Mechanism::StepAndBreakpoint),
    );
    let mut sregs = vcpu.fd().get_sregs().unwrap();
    sregs.idt.limit = 0x1f;
    vcpu.fd().set_sregs(&sregs).unwrap();
    machine.inject(&vcpu, Event::Interrupt(0x60));
    let why = refusal(&mut vcpu).to_string();
    assert!(
        why.contains("vector 96") && why.contains("table of handlers ends"),
        "{why}"
    );
    // None at all.
    let none = MechanismOrder {
        with_event: vec![],
        without_event: vec![],
        steps_through_delivery: false,
        steps_user_code: false,
    };
    let mut vcpu = machine.vcpu(index + 1, Program::Spin, none);
    assert!(refusal(&mut vcpu).to_string().contains("none was allowed"));
}

/// With KVM's interrupt controller: a vCPU that waits to be started, one that is halted, and one that
/// the local APIC has an interrupt for.
#[test]
fn a_vcpu_with_the_interrupt_controller_in_the_kernel() {
    let test = "a_vcpu_with_the_interrupt_controller_in_the_kernel";
    let Some(kvm) = kvm(test) else { return };
    let machine = Machine::with_irqchip(kvm);
    let set_up =
        |order| ImmediateExitSetUp::new(order, Arc::clone(&machine.memory) as _).pic(Pic::InKernel);
    let new = |index, order| {
        let fd = machine.vm().create_vcpu(index).unwrap();
        machine.guest.set_up(&fd, Program::Halt).unwrap();
        let mut vcpu = KvmVcpu::new(&machine.kvm, fd).unwrap();
        vcpu.set_up_immediate_exit(set_up(order)).unwrap();
        vcpu
    };
    let mut boot = new(0, MechanismOrder::unmeasured());
    let mut waiting = new(1, MechanismOrder::unmeasured());
    assert_eq!(refusal(&mut waiting), NotEntered::NotStarted);
    let mut window = new(2, MechanismOrder::only(Mechanism::InterruptWindow));
    let runnable = boot.fd().get_mp_state().unwrap();
    window.fd().set_mp_state(runnable).unwrap();
    assert!(
        refusal(&mut window)
            .to_string()
            .contains("PIC is in the kernel")
    );

    // The guest halts, in the kernel.
    loop {
        match boot.run_briefly() {
            Ok(BriefRun::Entered { exit: None, .. }) => {}
            Err(BriefError::NotEntered(NotEntered::Halted)) => break,
            other => panic!("{other:?}"),
        }
    }
    // An NMI wakes it.
    boot.fd().nmi().unwrap();
    deliver(&mut boot, &machine, 2);
    // So does an interrupt that its local APIC has requested.
    halt(&mut boot);
    let mut lapic: kvm_lapic_state = boot.fd().get_lapic().unwrap();
    lapic.regs[0xf1] |= 1; // enabled
    lapic.regs[0x200 + 0x20 + 3] |= 1 << 1; // IRR: 64 + 24 + 1
    boot.fd().set_lapic(&lapic).unwrap();
    deliver(&mut boot, &machine, 89);
}

fn halt(vcpu: &mut KvmVcpu) {
    for _ in 0..1000 {
        if let Err(BriefError::NotEntered(NotEntered::Halted)) = vcpu.run_briefly() {
            return;
        }
    }
    panic!("the guest does not halt");
}

fn deliver(vcpu: &mut KvmVcpu, machine: &Machine, vector: u8) {
    match vcpu.run_briefly() {
        Ok(BriefRun::Entered { report, exit: None }) => {
            assert_eq!(
                report.injection,
                Injection::Consumed,
                "{vector}: {report:?}"
            );
        }
        other => panic!("{vector}: {other:?}"),
    }
    // It comes to its end with the next entries.
    for _ in 0..1000 {
        if machine.guest.count(&machine.memory, vector).unwrap() == 1 {
            return;
        }
        let _ = vcpu.run_briefly();
    }
    panic!("vector {vector} was not counted");
}

#[test]
fn a_timer_signal_that_is_taken_is_refused() {
    let Some(machine) = Machine::new(
        "a_timer_signal_that_is_taken_is_refused",
        Mode::Long,
        Handlers::Short,
        false,
    ) else {
        return;
    };
    extern "C" fn theirs(_: libc::c_int) {}
    let handler = theirs as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the handler does nothing, and no other test uses the signal.
    unsafe { libc::signal(libc::SIGPWR, handler) };
    let signal = KickSignal::new(libc::SIGPWR).unwrap();
    let fd = machine.vm().create_vcpu(9).unwrap();
    let mut vcpu = KvmVcpu::new(&machine.kvm, fd).unwrap();
    let ram = Arc::clone(&machine.memory);
    let set_up = ImmediateExitSetUp::new(MechanismOrder::unmeasured(), ram).signal(signal);
    assert!(matches!(
        vcpu.set_up_immediate_exit(set_up),
        Err(Error::UnusableSignal {
            reason: UnusableSignal::InUse,
            ..
        })
    ));
}
