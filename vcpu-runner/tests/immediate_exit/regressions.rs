// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What once went wrong: each case failed before it was mended.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use guest_programs::{Handlers, Mode, Program, STACK_TOP};
use kvm_bindings::{KVM_MP_STATE_HALTED, kvm_debugregs, kvm_irqchip, kvm_mp_state, kvm_regs};
use vcpu_requests::requests;
use vcpu_runner::kvm::immediate_exit::{
    GuestRam, HostMechanisms, ImmediateExitSetUp, Mechanism, MechanismOrder, Pic,
};
use vcpu_runner::kvm::{KvmVcpu, ProbeGuest};
use vcpu_runner::{
    BriefError, BriefRun, Deadline, Exit, Flow, Handler, ImmediateExit, Injection, KickSignal,
    NotEntered, Runner, Vcpu,
};
use vm_memory::{Bytes, GuestAddress};

use crate::machine::{Event, Machine, kvm};

const TF: u64 = 1 << 8;

/// Runs `test` on a thread of its own; one that does not come back has failed.
fn comes_back(test: impl FnOnce() + Send + 'static) {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        test();
        let _ = sender.send(());
    });
    match receiver.recv_timeout(Duration::from_secs(60)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("KVM_RUN did not come back"),
        _ => thread.join().unwrap(),
    }
}

fn entered(vcpu: &mut KvmVcpu) -> ImmediateExit {
    match vcpu.run_briefly() {
        Ok(BriefRun::Entered { report, .. }) => report,
        other => panic!("{other:?}"),
    }
}

/// The signal's mask is the thread's: what one vCPU remembers of it, another may have changed.
#[test]
fn vcpus_that_share_a_thread_do_not_take_each_others_signals() {
    let test = "vcpus_that_share_a_thread_do_not_take_each_others_signals";
    if kvm(test).is_none() {
        return;
    }
    comes_back(|| {
        let machine = Machine::new(test, Mode::Long, Handlers::Short, false).unwrap();
        let only = MechanismOrder::only;
        let mut timer = machine.vcpu(0, Program::Spin, only(Mechanism::Timer));
        let mut blocked = machine.vcpu(1, Program::Spin, only(Mechanism::BlockedSignal));
        for _ in 0..500 {
            entered(&mut timer);
            entered(&mut blocked);
        }
        HostMechanisms::measure(&machine.kvm).unwrap();
        for _ in 0..500 {
            entered(&mut blocked);
        }
        entered(&mut timer);
    });
}

#[test]
fn a_backstop_of_zero_is_not_never() {
    let test = "a_backstop_of_zero_is_not_never";
    if kvm(test).is_none() {
        return;
    }
    comes_back(|| {
        let machine = Machine::new(test, Mode::Long, Handlers::Endless, false).unwrap();
        let order = MechanismOrder::only(Mechanism::StepAndBreakpoint);
        let none = |set_up: ImmediateExitSetUp| set_up.backstop(Duration::ZERO);
        let mut vcpu = machine.vcpu_with(0, Program::Spin, order, none);
        machine.restart(&vcpu, Program::Spin);
        machine.inject(&vcpu, Event::Interrupt(0x41));
        let _ = vcpu.run_briefly();
    });
}

/// A fault of the stepped instruction pushes the step's TF, too.
#[test]
fn a_stepped_instruction_that_faults_leaves_no_step_in_the_guest() {
    let test = "a_stepped_instruction_that_faults_leaves_no_step_in_the_guest";
    for mode in Mode::ALL {
        let Some(machine) = Machine::new(test, mode, Handlers::Endless, false) else {
            return;
        };
        let order = MechanismOrder::only(Mechanism::Step);
        let mut vcpu = machine.vcpu(0, Program::Spin, order);
        machine.restart(&vcpu, Program::Spin);
        // ud2
        let at = GuestAddress(machine.guest.entry(Program::Spin));
        machine.memory.write_slice(&[0x0f, 0x0b], at).unwrap();
        let report = entered(&mut vcpu);
        assert_eq!(report.instructions, None, "{mode}: {report:?}");
        let sp = STACK_TOP - machine.guest.frame_len(false);
        let frame = machine.guest.frame(&machine.memory, sp, false).unwrap();
        assert_eq!(frame.ip, at.0, "{mode}: {frame:x?}");
        assert_eq!(frame.flags & TF, 0, "{mode}: {frame:x?}");
    }
}

/// Real mode's stack pointer wraps, and boot code begins with 0.
#[test]
fn a_frame_at_the_top_of_real_modes_stack_is_found() {
    let test = "a_frame_at_the_top_of_real_modes_stack_is_found";
    for mechanism in [Mechanism::Step, Mechanism::StepAndBreakpoint] {
        let Some(machine) = Machine::new(test, Mode::Real, Handlers::Endless, false) else {
            return;
        };
        let mut vcpu = machine.vcpu(0, Program::Spin, MechanismOrder::only(mechanism));
        machine.restart(&vcpu, Program::Spin);
        let mut regs = vcpu.fd().get_regs().unwrap();
        regs.rsp = 0;
        vcpu.fd().set_regs(&regs).unwrap();
        machine.inject(&vcpu, Event::Interrupt(0x41));
        let report = entered(&mut vcpu);
        assert_eq!(report.injection, Injection::Consumed, "{report:?}");
        let frame = machine.guest.frame(&machine.memory, 0xfffa, false).unwrap();
        assert_eq!(frame.flags & TF, 0, "{mechanism}: {frame:x?}");
    }
}

/// The guest's own debug exceptions would go to whoever debugs it from outside.
#[test]
fn a_guest_with_breakpoints_of_its_own_is_not_debugged() {
    let test = "a_guest_with_breakpoints_of_its_own_is_not_debugged";
    let Some(machine) = Machine::new(test, Mode::Long, Handlers::Short, false) else {
        return;
    };
    for (index, mechanism) in (0..).zip([Mechanism::Step, Mechanism::StepAndBreakpoint]) {
        let mut vcpu = machine.vcpu(index, Program::Count, MechanismOrder::only(mechanism));
        let mut debug: kvm_debugregs = vcpu.fd().get_debug_regs().unwrap();
        debug.db[0] = 0x5000;
        debug.dr7 = 1 << 10 | 0xd << 16 | 1;
        vcpu.fd().set_debug_regs(&debug).unwrap();
        if mechanism == Mechanism::StepAndBreakpoint {
            machine.inject(&vcpu, Event::Interrupt(0x50));
        }
        match vcpu.run_briefly() {
            Err(BriefError::NotEntered(NotEntered::NoMechanism { reasons })) => {
                assert!(reasons.contains("breakpoints of its own"), "{reasons}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// On some hosts a step works in guest kernels only: in user code the guest gets the exception.
#[test]
fn user_code_is_entered_and_left_in_peace() {
    let test = "user_code_is_entered_and_left_in_peace";
    let Some(kvm) = kvm(test) else { return };
    let host = HostMechanisms::measure(&kvm).unwrap();
    if !host.steps_user_code() {
        eprintln!(
            "SKIPPED: vcpu-runner {test}: this host does not step guest user code; it is left to a timer"
        );
    }
    let mut guest = ProbeGuest::new(&kvm, &[0x48, 0xff, 0xc1, 0xeb, 0xfb]).unwrap(); // inc rcx; jmp
    let ram: Arc<dyn GuestRam> = guest.memory().clone();
    let set_up = ImmediateExitSetUp::new(host.order(), ram).pic(Pic::InUserspace);
    guest.vcpu().set_up_immediate_exit(set_up).unwrap();
    guest.enter_user_mode().unwrap();
    guest.restart(0).unwrap();
    for _ in 0..200 {
        match guest.vcpu().run_briefly() {
            Ok(BriefRun::Entered { exit: None, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(guest.vcpu().fd().get_regs().unwrap().rflags & TF, 0);
}

/// A machine with KVM's interrupt controller, whose vCPU spins.
fn with_irqchip(test: &str, order: MechanismOrder) -> Option<(Machine, KvmVcpu)> {
    let machine = Machine::with_irqchip(kvm(test)?);
    let fd = machine.vm().create_vcpu(0).unwrap();
    machine.guest.set_up(&fd, Program::Spin).unwrap();
    let mut vcpu = KvmVcpu::new(&machine.kvm, fd).unwrap();
    let ram = Arc::clone(&machine.memory);
    let set_up = ImmediateExitSetUp::new(order, ram).pic(Pic::InKernel);
    vcpu.set_up_immediate_exit(set_up).unwrap();
    machine.restart(&vcpu, Program::Spin);
    Some((machine, vcpu))
}

/// Has the in-kernel PIC request vector 0x20.
fn raise_pic_interrupt(machine: &Machine) {
    let mut chip = kvm_irqchip {
        chip_id: 0,
        ..Default::default()
    };
    chip.chip.pic = Default::default();
    machine.vm().get_irqchip(&mut chip).unwrap();
    // SAFETY: the chip that was asked for is a PIC.
    let mut pic = unsafe { chip.chip.pic };
    (pic.irq_base, pic.imr, pic.irr, pic.isr, pic.last_irr) = (0x20, 0, 0, 0, 0);
    (pic.elcr, pic.init_state) = (0, 0);
    chip.chip.pic = pic;
    machine.vm().set_irqchip(&chip).unwrap();
    machine.vm().set_irq_line(0, false).unwrap();
    machine.vm().set_irq_line(0, true).unwrap();
}

/// The PIC's interrupts are not among the events that KVM shows: one may meet a step.
#[test]
fn an_interrupt_that_nobody_foresaw_leaves_no_step_in_the_guest() {
    let test = "an_interrupt_that_nobody_foresaw_leaves_no_step_in_the_guest";
    let order = MechanismOrder::only(Mechanism::Step);
    let Some((machine, mut vcpu)) = with_irqchip(test, order) else {
        return;
    };
    raise_pic_interrupt(&machine);
    entered(&mut vcpu);
    let sp = STACK_TOP - machine.guest.frame_len(false);
    let frame = machine.guest.frame(&machine.memory, sp, false).unwrap();
    assert_eq!(frame.flags & TF, 0, "{frame:x?}");
}

#[test]
fn a_halted_guest_that_the_pic_wakes_is_entered() {
    let test = "a_halted_guest_that_the_pic_wakes_is_entered";
    let Some((machine, mut vcpu)) = with_irqchip(test, MechanismOrder::unmeasured()) else {
        return;
    };
    let mp_state = KVM_MP_STATE_HALTED;
    vcpu.fd().set_mp_state(kvm_mp_state { mp_state }).unwrap();
    assert_eq!(
        vcpu.run_briefly().unwrap_err(),
        BriefError::NotEntered(NotEntered::Halted)
    );
    raise_pic_interrupt(&machine);
    // A try may miss, and the guest is found halted still.
    for _ in 0..1000 {
        if vcpu.run_briefly().is_ok() {
            break;
        }
    }
    let regs: kvm_regs = vcpu.fd().get_regs().unwrap();
    let counted = machine.guest.count(&machine.memory, 0x20).unwrap();
    assert!(
        counted == 1 || machine.guest.executed(0x20, &regs).is_some(),
        "{regs:x?}"
    );
}

#[test]
fn a_vector_that_the_local_apic_still_has_is_waiting() {
    let test = "a_vector_that_the_local_apic_still_has_is_waiting";
    let Some(order) = kvm(test).map(|kvm| HostMechanisms::measure(&kvm).unwrap().order()) else {
        return;
    };
    let Some((machine, mut vcpu)) = with_irqchip(test, order) else {
        return;
    };
    vcpu.fd().nmi().unwrap();
    let mut lapic = vcpu.fd().get_lapic().unwrap();
    lapic.regs[0xf1] |= 1; // enabled
    lapic.regs[0x200 + 0x20 + 3] |= 1 << 1; // IRR: 64 + 24 + 1
    vcpu.fd().set_lapic(&lapic).unwrap();
    let report = entered(&mut vcpu);
    let lapic = vcpu.fd().get_lapic().unwrap();
    let still_requested = lapic.regs[0x223] & 2 != 0;
    assert_eq!(
        report.injection == Injection::Waits,
        still_requested,
        "{report:?}"
    );
    drop(machine);
}

requests! {
    enum Ask {
        /// Nothing.
        Look = 0,
    }
}

struct Nothing;

impl Handler<KvmVcpu> for Nothing {
    type Request = Ask;
    type Error = String;

    fn exit(&mut self, exit: Exit<'_>) -> Result<Flow, String> {
        match exit {
            Exit::Hlt => Ok(Flow::Halt),
            other => Err(format!("{other:?}")),
        }
    }

    fn request(&mut self, _: Ask, _: &mut KvmVcpu) -> Result<Flow, String> {
        Ok(Flow::Continue)
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

/// One signal for both was blocked in entries that are none of the timer's.
#[test]
fn the_timers_signal_may_be_the_kicks_as_well() {
    let test = "the_timers_signal_may_be_the_kicks_as_well";
    let Some(machine) = Machine::new(test, Mode::Long, Handlers::Short, false) else {
        return;
    };
    let vcpu = machine.vcpu(0, Program::Spin, MechanismOrder::unmeasured());
    let thread = Runner::new(vcpu, Nothing)
        .kick_signal(KickSignal::new(libc::SIGSTKFLT).unwrap())
        .spawn()
        .unwrap();
    let handle = thread.handle();
    for _ in 0..100 {
        handle.immediate_exit(soon()).unwrap();
        handle.pause(soon()).unwrap();
        handle.resume().unwrap();
        handle.request(Ask::Look).unwrap();
    }
    handle.stop().unwrap();
    thread.join().unwrap();
}

/// A closure cannot say that the guest is halted no longer; the event says it.
#[test]
fn a_halted_guest_that_a_closure_has_injected_into_is_entered() {
    let test = "a_halted_guest_that_a_closure_has_injected_into_is_entered";
    let Some(machine) = Machine::new(test, Mode::Long, Handlers::Short, false) else {
        return;
    };
    let vcpu = machine.vcpu(0, Program::Halt, MechanismOrder::unmeasured());
    let thread = Runner::new(vcpu, Nothing).spawn().unwrap();
    let handle = thread.handle();
    while handle.statistics().exits_of(vcpu_runner::ExitKind::Hlt) == 0 {
        thread::yield_now();
    }
    handle
        .call(soon(), |vcpu| vcpu.interrupt(0x60))
        .unwrap()
        .unwrap();
    let report = handle.immediate_exit(soon()).unwrap();
    assert_eq!(report.injection, Injection::Consumed, "{report:?}");
    handle.stop().unwrap();
    thread.join().unwrap();
}
