// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the user debugs and what the guest debugs is the same after an immediate exit as before.

use guest_programs::{Handlers, Mode, Program};
use kvm_bindings::{
    KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_SINGLESTEP, KVM_GUESTDBG_USE_HW_BP, kvm_guest_debug,
};
use kvm_ioctls::Kvm;
use vcpu_runner::kvm::KvmVcpu;
use vcpu_runner::kvm::immediate_exit::{HostMechanisms, Mechanism, MechanismOrder};
use vcpu_runner::{BriefError, BriefRun, Exit, ImmediateExit, NotEntered, Vcpu};
use vm_memory::{Bytes, GuestAddress};

use crate::machine::{Event, Machine, kvm};

const TF: u64 = 1 << 8;
const DR7: usize = 7;

fn machine(test: &str) -> Option<(Machine, MechanismOrder)> {
    let kvm: Kvm = kvm(test)?;
    let order = HostMechanisms::measure(&kvm).unwrap().order();
    let machine = Machine::new(test, Mode::Long, Handlers::Short, false)?;
    Some((machine, order))
}

fn entered(vcpu: &mut KvmVcpu) -> ImmediateExit {
    match vcpu.run_briefly() {
        Ok(BriefRun::Entered { report, exit: None }) => report,
        other => panic!("{other:?}"),
    }
}

/// Runs until the guest makes an exit, which a debug exit is.
fn run_to_debug_exit(vcpu: &mut KvmVcpu) -> u64 {
    match vcpu.run() {
        Ok(Exit::Debug(exit)) => exit.pc,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_users_breakpoint_stays() {
    let test = "the_users_breakpoint_stays";
    let Some((machine, order)) = machine(test) else {
        return;
    };
    if !order
        .with_event
        .starts_with(&[Mechanism::StepAndBreakpoint])
    {
        eprintln!("SKIPPED: vcpu-runner {test}: hardware breakpoints do not work on this host");
        return;
    }
    let mut vcpu = machine.vcpu(0, Program::Count, order);
    machine.restart(&vcpu, Program::Count);
    // On the last instruction of the loop.
    let mut debug = kvm_guest_debug {
        control: KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP,
        ..Default::default()
    };
    let entry = machine.guest.entry(Program::Count);
    let at = (entry..entry + 32)
        .rev()
        .find(|&rip| machine.memory.read_obj::<u8>(GuestAddress(rip)).unwrap() == 0xeb)
        .unwrap();
    debug.arch.debugreg[2] = at;
    debug.arch.debugreg[DR7] = 1 << 10 | 1 << 4;
    vcpu.set_guest_debug(&debug).unwrap();
    assert_eq!(run_to_debug_exit(&mut vcpu), at);
    for event in [Event::Interrupt(0x50), Event::Nmi, Event::Exception(6)] {
        machine.restart(&vcpu, Program::Count);
        machine.inject(&vcpu, event);
        let report = entered(&mut vcpu);
        assert_eq!(report.instructions, Some(0), "{event:?}: {report:?}");
        // Through the handler, and back to the program with the breakpoint in it.
        assert_eq!(run_to_debug_exit(&mut vcpu), at, "{event:?}");
        let count = machine.guest.count(&machine.memory, event.vector());
        assert_eq!(count.unwrap(), 1, "{event:?}");
    }
    // Where the guest stands on it, no instruction is executed, and the exit is the user's.
    let mut regs = vcpu.fd().get_regs().unwrap();
    regs.rip = at;
    vcpu.fd().set_regs(&regs).unwrap();
    match vcpu.run_briefly() {
        Ok(BriefRun::Entered {
            exit: Some(Exit::Debug(exit)),
            ..
        }) => assert_eq!(exit.pc, at),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_users_single_step_stays() {
    let test = "the_users_single_step_stays";
    let Some((machine, order)) = machine(test) else {
        return;
    };
    let mut vcpu = machine.vcpu(0, Program::Count, order);
    machine.restart(&vcpu, Program::Count);
    let debug = kvm_guest_debug {
        control: KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP,
        ..Default::default()
    };
    vcpu.set_guest_debug(&debug).unwrap();
    let mut exits = 0;
    for _ in 0..20 {
        let before = vcpu.fd().get_regs().unwrap().rip;
        let stepped = run_to_debug_exit(&mut vcpu);
        assert_ne!(stepped, before);
        match vcpu.run_briefly() {
            // One instruction was stepped: the user, who steps, sees it.
            Ok(BriefRun::Entered {
                exit: Some(Exit::Debug(exit)),
                ..
            }) => {
                assert_ne!(exit.pc, stepped);
                exits += 1;
            }
            // None was: the interrupt window was open.
            Ok(BriefRun::Entered { exit: None, .. }) => {
                assert_eq!(vcpu.fd().get_regs().unwrap().rip, stepped);
            }
            other => panic!("{other:?}"),
        }
    }
    println!("{exits} of 20 immediate exits were steps of the user's");
}

#[test]
fn a_guest_is_not_single_stepped_afterwards() {
    let test = "a_guest_is_not_single_stepped_afterwards";
    let Some((machine, order)) = machine(test) else {
        return;
    };
    let mut vcpu = machine.vcpu(0, Program::PortOut, order);
    for event in [None, Some(Event::Interrupt(0x50)), Some(Event::Nmi)] {
        machine.restart(&vcpu, Program::PortOut);
        if let Some(event) = event {
            machine.inject(&vcpu, event);
        }
        vcpu.run_briefly().unwrap();
        assert_eq!(vcpu.fd().get_regs().unwrap().rflags & TF, 0, "{event:?}");
        // Through the handler, and on.
        for _ in 0..10 {
            assert!(matches!(vcpu.run(), Ok(Exit::IoOut { .. })), "{event:?}");
        }
        let debug_exceptions = machine.guest.count(&machine.memory, 1).unwrap();
        assert_eq!(debug_exceptions, 0, "{event:?}");
    }
}

#[test]
fn a_guest_that_single_steps_itself_keeps_its_flag() {
    let test = "a_guest_that_single_steps_itself_keeps_its_flag";
    let Some((machine, order)) = machine(test) else {
        return;
    };
    let set_tf = |vcpu: &KvmVcpu| {
        let mut regs = vcpu.fd().get_regs().unwrap();
        regs.rflags |= TF;
        vcpu.fd().set_regs(&regs).unwrap();
    };
    // Step alone is refused: it would take the guest's own step away.
    let mut vcpu = machine.vcpu(0, Program::Count, MechanismOrder::only(Mechanism::Step));
    machine.restart(&vcpu, Program::Count);
    set_tf(&vcpu);
    match vcpu.run_briefly() {
        Err(BriefError::NotEntered(NotEntered::NoMechanism { reasons })) => {
            assert_eq!(reasons, "step: the guest single-steps itself");
        }
        other => panic!("{other:?}"),
    }
    assert_ne!(vcpu.fd().get_regs().unwrap().rflags & TF, 0);
    assert_eq!(machine.guest.progress(&machine.memory).unwrap(), 0);

    // With an event as well, and so the others are left: the flag is in the frame, where the processor
    // puts it.
    let refused = MechanismOrder::only(Mechanism::StepAndBreakpoint);
    let mut vcpu = machine.vcpu(1, Program::Count, refused);
    machine.restart(&vcpu, Program::Count);
    set_tf(&vcpu);
    machine.inject(&vcpu, Event::Interrupt(0x50));
    assert!(matches!(
        vcpu.run_briefly(),
        Err(BriefError::NotEntered(NotEntered::NoMechanism { reasons }))
            if reasons.contains("single-steps itself")
    ));
    // An endless handler: wherever the timer ends the entry, its frame is still there.
    let endless = Machine::new(test, Mode::Long, Handlers::Endless, false).unwrap();
    let mut vcpu = endless.vcpu(0, Program::Count, order);
    endless.restart(&vcpu, Program::Count);
    set_tf(&vcpu);
    endless.inject(&vcpu, Event::Interrupt(0x50));
    let report = entered(&mut vcpu);
    assert_eq!(report.injection, vcpu_runner::Injection::Consumed);
    let sp = guest_programs::STACK_TOP - endless.guest.frame_len(false);
    let frame = endless.guest.frame(&endless.memory, sp, false).unwrap();
    assert_ne!(frame.flags & TF, 0, "{report:?}, {frame:x?}");
    assert_eq!(vcpu.fd().get_regs().unwrap().rflags & TF, 0, "{report:?}");
}

/// PUSHF stores the flag of a step where the guest sees it.
#[test]
fn an_instruction_that_stores_the_flags_is_not_stepped() {
    let test = "an_instruction_that_stores_the_flags_is_not_stepped";
    let Some((machine, order)) = machine(test) else {
        return;
    };
    let start = machine.guest.entry(Program::Spin);
    // pushf; pop rax; or rbx, rax; jmp to it.
    let code = [0x9c, 0x58, 0x48, 0x09, 0xc3, 0xeb, 0xf9];
    let put = |machine: &Machine| {
        machine
            .memory
            .write_slice(&code, GuestAddress(start))
            .unwrap();
    };
    let mut vcpu = machine.vcpu(0, Program::Spin, MechanismOrder::only(Mechanism::Step));
    put(&machine);
    machine.restart(&vcpu, Program::Spin);
    assert!(matches!(
        vcpu.run_briefly(),
        Err(BriefError::NotEntered(NotEntered::NoMechanism { reasons }))
            if reasons.contains("RFLAGS as a whole")
    ));
    let mut vcpu = machine.vcpu(1, Program::Spin, order);
    machine.restart(&vcpu, Program::Spin);
    for _ in 0..200 {
        entered(&mut vcpu);
    }
    assert_eq!(vcpu.fd().get_regs().unwrap().rbx & TF, 0);
}
