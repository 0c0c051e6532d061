// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::guest::{Ask, CODE, Machine, soon, wait_until};
use vcpu_runner::kvm::KvmVcpu;
use vcpu_runner::{Exit, Flow, Handler, Phase, Runner};

/// Answers each read with the next number.
struct Numbers(Arc<AtomicU32>);

impl Handler<KvmVcpu> for Numbers {
    type Request = Ask;
    type Error = String;

    fn exit(&mut self, exit: Exit<'_>) -> Result<Flow, String> {
        match exit {
            Exit::IoIn { data, .. } => {
                let next = self.0.load(Ordering::Relaxed).wrapping_add(1);
                data.copy_from_slice(&next.to_le_bytes());
                self.0.store(next, Ordering::Release);
                Ok(Flow::Continue)
            }
            other => Err(format!("{other:?}")),
        }
    }

    fn request(&mut self, _: Ask, _: &mut KvmVcpu) -> Result<Flow, String> {
        Ok(Flow::Continue)
    }
}

/// The number that the guest was given last is in eax whenever it is paused: were the read's I/O
/// not finished, it would be the one before.
#[test]
fn ten_thousand_pauses_see_finished_io() {
    let code = [
        0xe5, 0x40, // in eax, 0x40
        0x89, 0xc3, // mov ebx, eax
        0xeb, 0xfa, // jmp to the in
    ];
    let Some(machine) = Machine::new("ten_thousand_pauses_see_finished_io", &code) else {
        return;
    };
    let given = Arc::new(AtomicU32::new(0));
    let thread = Runner::new(machine.vcpu(0), Numbers(Arc::clone(&given)))
        .spawn()
        .unwrap();
    let handle = thread.handle();
    for round in 0..10_000_u32 {
        handle.pause(soon()).unwrap();
        assert!(matches!(handle.phase(), Phase::Paused));
        let regs = handle
            .call(soon(), |vcpu| vcpu.fd().get_regs())
            .unwrap()
            .unwrap();
        let now = given.load(Ordering::Acquire);
        assert_eq!(regs.rax as u32, now, "round {round}, at {:#x}", regs.rip);
        if regs.rip == CODE {
            assert_eq!(regs.rbx as u32, now, "round {round}");
        }
        handle.resume().unwrap();
        // Every other pause comes at once, the rest after the guest has gone on.
        wait_until("the guest to go on", || {
            round % 2 != 0 || given.load(Ordering::Acquire) != now
        });
    }
    handle.stop().unwrap();
    thread.join().unwrap();
}

#[test]
fn registers_set_in_a_pause_are_those_that_the_guest_goes_on_with() {
    let code = [
        0xeb, 0xfe, // jmp $
        0xe5, 0x40, // in eax, 0x40
        0xeb, 0xfc, // jmp to the in
    ];
    let test = "registers_set_in_a_pause_are_those_that_the_guest_goes_on_with";
    let Some(machine) = Machine::new(test, &code) else {
        return;
    };
    let given = Arc::new(AtomicU32::new(0));
    let thread = Runner::new(machine.vcpu(0), Numbers(Arc::clone(&given)))
        .spawn()
        .unwrap();
    let handle = thread.handle();
    handle.pause(soon()).unwrap();
    handle
        .call(soon(), |vcpu| {
            let mut regs = vcpu.fd().get_regs()?;
            regs.rip = CODE + 2;
            vcpu.fd().set_regs(&regs)
        })
        .unwrap()
        .unwrap();
    assert_eq!(given.load(Ordering::Acquire), 0);
    handle.resume().unwrap();
    wait_until("the guest to go on", || given.load(Ordering::Acquire) >= 10);
    handle.stop().unwrap();
    thread.join().unwrap();
}
