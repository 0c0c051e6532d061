// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! MMIO that crosses a page border comes as two exits; the second belongs to finishing the first.

use crate::guest::{Ask, CODE, Machine, Recorder, Seen, next, wait_until};
use kvm_ioctls::VcpuFd;
use vcpu_runner::kvm::KvmVcpu;
use vcpu_runner::{Exit, ExitKind, Flow, Handler, Runner, VcpuHandle};

const WRITE: &[u8] = &[
    0xb8, 0x44, 0x33, 0x22, 0x11, // mov eax, 0x11223344
    0xa3, 0xfe, 0x0f, 0x00, 0xd0, // mov [0xd0000ffe], eax
    0xeb, 0xfe, // jmp $
];
const AFTER_WRITE: u64 = CODE + 10;

const READ: &[u8] = &[
    0xa1, 0xfe, 0x0f, 0x00, 0xd0, // mov eax, [0xd0000ffe]
    0xeb, 0xfe, // jmp $
];
const AFTER_READ: u64 = CODE + 5;

fn rip(fd: &VcpuFd) -> u64 {
    fd.get_regs().unwrap().rip
}

/// Asks its own vCPU for something at the first exit it sees.
struct AskAtFirstExit {
    recorder: Recorder,
    handle: Option<VcpuHandle<KvmVcpu, Ask>>,
}

impl Handler<KvmVcpu> for AskAtFirstExit {
    type Request = Ask;
    type Error = String;

    fn exit(&mut self, exit: Exit<'_>) -> Result<Flow, String> {
        if let Some(handle) = self.handle.take() {
            handle.request(Ask::Report).map_err(|e| e.to_string())?;
        }
        self.recorder.exit(exit)
    }

    fn request(&mut self, ask: Ask, vcpu: &mut KvmVcpu) -> Result<Flow, String> {
        self.recorder.request(ask, vcpu)
    }
}

fn asked_between_the_halves(test: &str, code: &[u8]) -> Option<[Seen; 3]> {
    let machine = Machine::new(test, code)?;
    let (recorder, seen) = Recorder::new();
    let mut runner = Runner::new(
        machine.vcpu(0),
        AskAtFirstExit {
            recorder,
            handle: None,
        },
    );
    let handle = runner.handle();
    runner.handler_mut().handle = Some(handle);
    let thread = runner.spawn().unwrap();
    let all = [next(&seen), next(&seen), next(&seen)];
    thread.handle().stop().unwrap();
    thread.join().unwrap();
    Some(all)
}

#[test]
fn a_write_is_whole_before_a_request_sees_the_registers() {
    let test = "a_write_is_whole_before_a_request_sees_the_registers";
    let Some(seen) = asked_between_the_halves(test, WRITE) else {
        return;
    };
    assert_eq!(seen[0], Seen::Write(0xd000_0ffe, vec![0x44, 0x33]));
    assert_eq!(seen[1], Seen::Write(0xd000_1000, vec![0x22, 0x11]));
    assert_eq!(seen[2], Seen::Asked(Ask::Report, AFTER_WRITE, 0x1122_3344));
}

#[test]
fn a_read_is_whole_before_a_request_sees_the_registers() {
    let test = "a_read_is_whole_before_a_request_sees_the_registers";
    let Some(seen) = asked_between_the_halves(test, READ) else {
        return;
    };
    assert_eq!(seen[0], Seen::Read(0xd000_0ffe, 2));
    assert_eq!(seen[1], Seen::Read(0xd000_1000, 2));
    assert_eq!(seen[2], Seen::Asked(Ask::Report, AFTER_READ, 0xa1a0_a1a0));
}

#[test]
fn a_pause_between_the_halves_waits_for_the_second() {
    /// Pauses, without waiting, at the first exit.
    struct PauseAtFirstExit(Option<VcpuHandle<KvmVcpu, Ask>>, u32);

    impl Handler<KvmVcpu> for PauseAtFirstExit {
        type Request = Ask;
        type Error = String;

        fn exit(&mut self, _: Exit<'_>) -> Result<Flow, String> {
            self.1 += 1;
            if let Some(handle) = self.0.take() {
                let _asked = handle.begin_pause().map_err(|e| e.to_string())?;
            }
            Ok(Flow::Continue)
        }

        fn request(&mut self, _: Ask, _: &mut KvmVcpu) -> Result<Flow, String> {
            Ok(Flow::Continue)
        }
    }

    let test = "a_pause_between_the_halves_waits_for_the_second";
    let Some(machine) = Machine::new(test, WRITE) else {
        return;
    };
    let mut runner = Runner::new(machine.vcpu(0), PauseAtFirstExit(None, 0));
    let handle = runner.handle();
    runner.handler_mut().0 = Some(handle);
    let thread = runner.spawn().unwrap();
    let handle = thread.handle();
    // The handler's pause may be first or this one: both mean the same.
    wait_until("an exit", || {
        handle.statistics().exits_of(ExitKind::MmioWrite) != 0
    });
    handle.pause(crate::guest::soon()).unwrap();
    let at = handle
        .call(crate::guest::soon(), |vcpu| rip(vcpu.fd()))
        .unwrap();
    assert_eq!(at, AFTER_WRITE);
    handle.stop().unwrap();
    assert_eq!(thread.join().unwrap().handler.1, 2);
}
