// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! From instruction bytes in L1 to what the instruction does.
#![allow(clippy::expect_used, clippy::panic, reason = "a test may")]

mod support;

use nested_vmx::l0::{Exception, Instruction, LinearMemory, LinearOperand, Outcome};
use nested_vmx::memory::L1Memory;
use nested_vmx::model::{Machine, ModelMemory, vmcs12_of};
use nested_vmx::operand::{Mode, Registers, decode};
use support::capabilities;

/// Linear addresses are physical ones; what is not memory is not present.
struct Flat<'a>(&'a ModelMemory);

impl LinearMemory for Flat<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Exception> {
        let fault = |_| Exception::page_fault(0, address);
        self.0.read(address, into).map_err(fault)
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), Exception> {
        let fault = |_| Exception::page_fault(2, address);
        self.0.write(address, from).map_err(fault)
    }
}

const RAX: usize = 0;
const RCX: usize = 1;
const RBX: usize = 3;
/// Where operands are.
const OPERAND: u64 = 0x6000;

struct L1 {
    machine: Machine,
    gpr: [u64; 16],
}

impl L1 {
    fn new() -> Self {
        let capabilities = capabilities();
        let machine = Machine::with_vmcs(&capabilities, &vmcs12_of(&capabilities)).expect("a VMCS");
        let mut gpr = [0; 16];
        gpr[RBX] = OPERAND;
        Self { machine, gpr }
    }

    fn execute(&mut self, bytes: &[u8]) -> Outcome {
        let decoded = decode(bytes, Mode::Bits64, 0x8000).expect("a VMX instruction");
        assert_eq!(usize::from(decoded.length), bytes.len());
        let registers = Registers::from_vmcs(self.machine.cpu.state(), self.gpr, 48);
        // L1's memory is the machine's, which executes the instruction meanwhile.
        let memory = ModelMemory::new(Machine::MEMORY);
        copy(&self.machine.memory, &memory);
        let outcome = {
            let flat = Flat(&memory);
            let operand = LinearOperand::new(&decoded, &registers, &flat);
            let instruction = Instruction::from_decoded(&decoded, &registers, &operand);
            self.machine.execute(instruction)
        };
        let mut operand = [0; 16];
        memory.read(OPERAND, &mut operand).expect("memory");
        self.machine
            .memory
            .write(OPERAND, &operand)
            .expect("memory");
        outcome
    }

    fn set_operand(&self, value: u64) {
        let bytes = value.to_le_bytes();
        self.machine.memory.write(OPERAND, &bytes).expect("memory");
    }

    fn operand(&self) -> u64 {
        self.machine.memory.read_u64(OPERAND).expect("memory")
    }
}

fn copy(from: &ModelMemory, to: &ModelMemory) {
    let mut bytes = vec![0; Machine::MEMORY];
    from.read(0, &mut bytes).expect("memory");
    to.write(0, &bytes).expect("memory");
}

#[test]
fn each_instruction_does_what_its_bytes_say() {
    let mut l1 = L1::new();
    // vmptrst [rbx]
    assert_eq!(l1.execute(&[0x0f, 0xc7, 0x3b]), Outcome::Succeed);
    assert_eq!(l1.operand(), Machine::VMCS);
    // vmread rax, rcx: GUEST_RIP
    l1.gpr[RCX] = 0x681e;
    assert_eq!(l1.execute(&[0x0f, 0x78, 0xc8]), Outcome::Read(0x4000));
    // vmwrite rcx, [rbx]
    l1.set_operand(0x1234_5678_9abc);
    assert_eq!(l1.execute(&[0x0f, 0x79, 0x0b]), Outcome::Succeed);
    assert_eq!(l1.machine.vmx.vmcs12().guest_rip(), 0x1234_5678_9abc);
    // vmread [rbx], rcx
    l1.set_operand(0);
    assert_eq!(l1.execute(&[0x0f, 0x78, 0x0b]), Outcome::Succeed);
    assert_eq!(l1.operand(), 0x1234_5678_9abc);
    // vmwrite rcx, rax
    l1.gpr[RAX] = 0x4000;
    assert_eq!(l1.execute(&[0x0f, 0x79, 0xc8]), Outcome::Succeed);
    // vmlaunch
    assert_eq!(l1.execute(&[0x0f, 0x01, 0xc2]), Outcome::Entered);
}

#[test]
fn the_operands_of_invalidations() {
    let mut l1 = L1::new();
    // invept rcx, [rbx]: all contexts
    l1.gpr[RCX] = 2;
    assert_eq!(
        l1.execute(&[0x66, 0x0f, 0x38, 0x80, 0x0b]),
        Outcome::Succeed
    );
    assert!(l1.machine.vmx.take_flush().ept.is_some());
    // invvpid rcx, [rbx]: a single context, VPID 0
    l1.gpr[RCX] = 1;
    let failed = l1.execute(&[0x66, 0x0f, 0x38, 0x81, 0x0b]);
    assert!(matches!(failed, Outcome::FailValid(error) if error.number() == 28));
    l1.set_operand(5);
    assert_eq!(
        l1.execute(&[0x66, 0x0f, 0x38, 0x81, 0x0b]),
        Outcome::Succeed
    );
}

#[test]
fn operands_fault_when_they_are_accessed() {
    let mut l1 = L1::new();
    // vmptrld [rbx], beyond memory, and at an address that is not canonical
    l1.gpr[RBX] = 0x50_0000;
    let fault = Exception::page_fault(0, 0x50_0000);
    assert_eq!(l1.execute(&[0x0f, 0xc7, 0x33]), Outcome::Exception(fault));
    l1.gpr[RBX] = 1 << 63;
    let fault = Outcome::Exception(Exception::GENERAL_PROTECTION);
    assert_eq!(l1.execute(&[0x0f, 0xc7, 0x33]), fault);
    // The same in SS: vmptrld [rsp]
    l1.machine
        .cpu
        .state_mut()
        .write(nested_vmx::vmcs::Field::GuestRsp, 1 << 63);
    let fault = Outcome::Exception(Exception::STACK_FAULT);
    assert_eq!(l1.execute(&[0x0f, 0xc7, 0x34, 0x24]), fault);
}
