// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A virtual processor with everything around it, and the loop that drives it.

use core::cell::{Cell, RefCell};

use super::cpu::Cpu;
use super::interrupts::InterruptController;
use super::memory::ModelMemory;
use super::msrs::ModelMsrs;
use super::template;
use crate::capability::Capabilities;
use crate::l0::{
    AfterExit, Border, Clock, Configuration, Decision, Exception, HardwareExit, Instruction,
    MemoryOperand, NestedVmx, Outcome, RequestSink,
};
use crate::memory::L1Memory;
use crate::vmcs::Vmcs;

/// A clock that stands still until it is set.
#[derive(Debug, Default)]
pub struct TestClock(pub Cell<u64>);

impl Clock for TestClock {
    fn tsc(&self) -> u64 {
        self.0.get()
    }
}

/// Counts the requests for an immediate exit.
#[derive(Debug, Default)]
pub struct RequestCounter(pub Cell<u64>);

impl RequestSink for RequestCounter {
    fn immediate_exit(&self) {
        self.0.set(self.0.get() + 1);
    }
}

/// A memory operand: up to 16 bytes somewhere.
#[derive(Debug, Default)]
pub struct Value(pub RefCell<[u8; 16]>);

impl Value {
    /// An operand of 64 bits.
    pub fn of(value: u64) -> Self {
        Self::pair(value, 0)
    }

    /// An operand of 128 bits: low and high half.
    pub fn pair(low: u64, high: u64) -> Self {
        let value = u128::from(high) << 64 | u128::from(low);
        Self(RefCell::new(value.to_le_bytes()))
    }

    /// Its low 64 bits.
    pub fn get(&self) -> u64 {
        u128::from_le_bytes(*self.0.borrow()) as u64
    }
}

impl MemoryOperand for Value {
    fn read(&self, into: &mut [u8]) -> Result<(), Exception> {
        let bytes = self.0.borrow();
        let from = bytes
            .get(..into.len())
            .ok_or(Exception::GENERAL_PROTECTION)?;
        into.copy_from_slice(from);
        Ok(())
    }

    fn write(&self, from: &[u8]) -> Result<(), Exception> {
        let mut bytes = self.0.borrow_mut();
        let into = bytes
            .get_mut(..from.len())
            .ok_or(Exception::GENERAL_PROTECTION)?;
        into.copy_from_slice(from);
        Ok(())
    }
}

/// What one round of the loop did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stepped {
    /// What was to be entered.
    pub decision: Decision,
    /// How the hardware's entry ended, if there was one.
    pub exit: Option<HardwareExit>,
    /// What was to be done then.
    pub after: Option<AfterExit>,
}

/// The virtual processor and everything around it.
#[derive(Debug)]
pub struct Machine {
    /// Its VMX.
    pub vmx: NestedVmx,
    /// The processor it runs on.
    pub cpu: Cpu,
    /// L1's memory.
    pub memory: ModelMemory,
    /// Its MSRs.
    pub msrs: ModelMsrs,
    /// Its interrupt controller.
    pub interrupts: InterruptController,
    /// Its clock.
    pub clock: TestClock,
    /// How often an immediate exit was asked for.
    pub requests: RequestCounter,
}

impl Machine {
    /// Where the VMXON region of [`Machine::launched`] is.
    pub const VMXON: u64 = 0x10000;
    /// Where the VMCS of [`Machine::launched`] is.
    pub const VMCS: u64 = 0x11000;
    /// Bytes of memory.
    pub const MEMORY: usize = 0x40000;

    /// A virtual processor in 64-bit mode at privilege level 0, outside VMX operation.
    pub fn new(capabilities: &Capabilities) -> Self {
        Self::with_memory(capabilities, ModelMemory::new(Self::MEMORY))
    }

    /// The same with this memory.
    pub fn with_memory(capabilities: &Capabilities, memory: ModelMemory) -> Self {
        let vmcs01 = template::l1_of(capabilities);
        let configuration = Configuration {
            capabilities: *capabilities,
            vpid02: 2,
        };
        Self {
            cpu: Cpu::new(&vmcs01),
            vmx: NestedVmx::new(&configuration, vmcs01),
            memory,
            msrs: ModelMsrs::default(),
            interrupts: InterruptController::default(),
            clock: TestClock::default(),
            requests: RequestCounter::default(),
        }
    }

    /// One that executed VMXON, and VMPTRLD of this VMCS.
    ///
    /// # Errors
    ///
    /// The outcome of the instruction that did not succeed.
    pub fn with_vmcs(capabilities: &Capabilities, vmcs12: &Vmcs) -> Result<Self, Outcome> {
        let mut machine = Self::new(capabilities);
        let revision = capabilities.basic.revision().to_le_bytes();
        // The memory reaches that far.
        let _ = machine.memory.write(Self::VMXON, &revision);
        let _ = machine.memory.write(Self::VMCS, vmcs12.as_bytes());
        for instruction in [
            Instruction::Vmxon(&Value::of(Self::VMXON)),
            Instruction::Vmptrld(&Value::of(Self::VMCS)),
        ] {
            match machine.execute(instruction) {
                Outcome::Succeed => {}
                outcome => return Err(outcome),
            }
        }
        Ok(machine)
    }

    /// One that executed VMLAUNCH of this VMCS, too. L2's entry is pending.
    ///
    /// # Errors
    ///
    /// The outcome of the instruction that did not succeed.
    pub fn launched(capabilities: &Capabilities, vmcs12: &Vmcs) -> Result<Self, Outcome> {
        let mut machine = Self::with_vmcs(capabilities, vmcs12)?;
        match machine.execute(Instruction::Vmlaunch) {
            Outcome::Entered => Ok(machine),
            outcome => Err(outcome),
        }
    }

    /// Calls the core with everything around it.
    pub fn with_border<T>(&mut self, call: impl FnOnce(&mut NestedVmx, &mut Border<'_>) -> T) -> T {
        let mut border = Border {
            memory: &self.memory,
            msrs: &mut self.msrs,
            hardware: &mut self.cpu,
            interrupts: &mut self.interrupts,
            clock: &self.clock,
            requests: &self.requests,
        };
        call(&mut self.vmx, &mut border)
    }

    /// The guest that runs executes a VMX instruction.
    pub fn execute(&mut self, instruction: Instruction<'_>) -> Outcome {
        self.with_border(|vmx, border| vmx.execute(instruction, border))
    }

    /// One round: decide; if it is to be L2, enter it, and say how that ended.
    pub fn step(&mut self) -> Stepped {
        let decision = self.with_border(NestedVmx::before_entry);
        let mut stepped = Stepped {
            decision,
            exit: None,
            after: None,
        };
        if let Decision::L2(how) = &decision {
            let exit = self.cpu.enter(how);
            stepped.exit = Some(exit);
            stepped.after = Some(self.with_border(|vmx, border| vmx.after_exit(exit, border)));
        }
        stepped
    }

    /// Rounds until L1 runs or nothing more happens, at most `limit`.
    pub fn run(&mut self, limit: usize) -> Option<Stepped> {
        (0..limit)
            .map(|_| self.step())
            .find(|stepped| !matches!(stepped.decision, Decision::L2(_)))
    }
}
