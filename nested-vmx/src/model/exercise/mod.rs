// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Random histories of one virtual processor, with the books kept about every event.

mod ledger;
mod operation;

pub use ledger::Violation;
pub use operation::Operation;

use super::cpu::L2Instruction;
use super::machine::{Machine, Value};
use super::memory::ModelMemory;
use super::template;
use crate::capability::{Capabilities, Processor};
use crate::exit_reason::ExitReason;
use crate::interruption::Event;
use crate::l0::{
    AfterExit, Decision, Destination, ExitInformation, HardwareExit, Instruction, Outcome,
    PendingException, Source,
};
use crate::memory::L1Memory;
use crate::vmcs::{Field, REGION_SIZE, Vmcs};
use ledger::Ledger;

/// Bytes of memory: up to the end of the VMCS.
const MEMORY: usize = Machine::VMCS as usize + REGION_SIZE;

/// A virtual processor with a history, and what must be true of it.
///
/// - An event that L1 injects is delivered to L2 exactly once, or reported as not delivered.
/// - An interrupt or NMI that is raised is delivered exactly once, to L2 or by a VM exit.
/// - What L1 launched is entered before L1 has an exit, unless it is halted and gets nothing.
/// - No entry is pending when an exit is handled.
/// - L2 is active exactly while there is a current VMCS that was launched.
/// - An immediate exit is asked for only while an event waits, and not for ever.
#[derive(Debug)]
pub struct Exercise {
    capabilities: Capabilities,
    machine: Machine,
    ledger: Ledger,
    /// Immediate exits in a row without a new event.
    forced_in_a_row: u32,
    /// L1 launched an L2 that executes something, and the hardware has not entered it yet.
    entry_is_owed: bool,
}

impl Default for Exercise {
    fn default() -> Self {
        Self::new()
    }
}

impl Exercise {
    /// A virtual processor outside VMX operation.
    pub fn new() -> Self {
        let capabilities = Capabilities::software(Processor::new(40));
        let machine = Machine::with_memory(&capabilities, ModelMemory::new(MEMORY));
        let revision = capabilities.basic.revision().to_le_bytes();
        // The memory reaches that far.
        let _ = machine.memory.write(Machine::VMXON, &revision);
        Self {
            capabilities,
            machine,
            ledger: Ledger::default(),
            forced_in_a_row: 0,
            entry_is_owed: false,
        }
    }

    /// The virtual processor.
    pub const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Does one thing.
    ///
    /// # Errors
    ///
    /// [`Violation`]: what is not true afterwards.
    pub fn apply(&mut self, operation: Operation) -> Result<(), Violation> {
        match operation {
            Operation::Vmxon => {
                let _ = self
                    .machine
                    .execute(Instruction::Vmxon(&Value::of(Machine::VMXON)));
            }
            Operation::Launch { seed, inject } => self.launch(seed, inject),
            Operation::Resume { inject } => self.resume(inject),
            Operation::Instruction(number, operand) => self.instruction(number, operand),
            Operation::Interrupt(vector) => {
                if self.machine.interrupts.raise(vector) {
                    self.ledger.came(Event::external_interrupt(vector));
                }
                self.forced_in_a_row = 0;
            }
            Operation::Mask(masked) => self.machine.interrupts.set_masked(masked),
            Operation::Nmi => {
                if !self.machine.vmx.pending().nmi {
                    self.machine.vmx.pending_mut().nmi = true;
                    self.ledger.came(Event::NMI);
                }
                self.forced_in_a_row = 0;
            }
            Operation::Init => self.machine.vmx.pending_mut().init = true,
            Operation::Sipi(vector) => self.machine.vmx.pending_mut().sipi = Some(vector),
            Operation::Smi => self.machine.vmx.pending_mut().smi = true,
            Operation::TripleFault => self.machine.vmx.pending_mut().triple_fault = true,
            Operation::Exception(exception) => self.raise(exception),
            Operation::Tick(ticks) => {
                let now = self.machine.clock.0.get();
                self.machine.clock.0.set(now.saturating_add(ticks.into()));
            }
            Operation::Script(instruction) => self.machine.cpu.push(instruction),
            Operation::Step => self.step()?,
            Operation::LeaveSmm => self
                .machine
                .with_border(|vmx, border| vmx.leave_smm(border)),
            Operation::Reset => self.reset(),
            Operation::Emulated => self.machine.vmx.instruction_emulated(),
            Operation::Migrate => self.migrate()?,
            Operation::L1TakesEvents => self.l1_takes_events(),
        }
        self.check()
    }

    /// L1 makes a VMCS from these bits, and launches it.
    fn launch(&mut self, seed: u32, inject: Option<Event>) {
        let mut vmcs12 = template::vmcs12_of(&self.capabilities);
        configure(&mut vmcs12, seed);
        set_injection(&mut vmcs12, inject);
        let pointer = Value::of(Machine::VMCS);
        let cleared = self.machine.execute(Instruction::Vmclear(&pointer));
        if cleared != Outcome::Succeed {
            return;
        }
        // The memory reaches that far.
        let _ = self.machine.memory.write(Machine::VMCS, vmcs12.as_bytes());
        if self.machine.execute(Instruction::Vmptrld(&pointer)) == Outcome::Succeed
            && self.machine.execute(Instruction::Vmlaunch) == Outcome::Entered
        {
            self.entered(inject);
        }
    }

    /// L1 goes on with the VMCS that it has.
    fn resume(&mut self, inject: Option<Event>) {
        let mut field = |field: Field, value: u32| {
            let outcome = self.machine.execute(Instruction::Vmwrite {
                field: field.encoding().0.into(),
                from: Source::Register(value.into()),
            });
            outcome == Outcome::Succeed
        };
        let (information, code, length) = fields_of(inject);
        let written = field(Field::VmEntryIntrInfoField, information)
            && field(Field::VmEntryExceptionErrorCode, code)
            && field(Field::VmEntryInstructionLen, length);
        if written && self.machine.execute(Instruction::Vmresume) == Outcome::Entered {
            self.entered(inject);
        }
    }

    fn entered(&mut self, inject: Option<Event>) {
        self.forced_in_a_row = 0;
        self.entry_is_owed = self.machine.vmx.activity() == crate::registers::activity::ACTIVE;
        // A monitor trap is not delivered to anybody.
        if let Some(event) = inject
            && event.kind != crate::interruption::EventType::Other
        {
            self.ledger.came(event);
        }
    }

    /// Any VMX instruction with any operand, of whoever runs.
    fn instruction(&mut self, number: u8, operand: u64) {
        let memory = Value::of(operand);
        let _ = self.machine.execute(match number % 10 {
            0 => Instruction::Vmxoff,
            1 => Instruction::Vmclear(&memory),
            2 => Instruction::Vmptrst(&memory),
            3 => Instruction::Vmread {
                field: operand,
                to: Destination::Register,
            },
            // Not a field that the books depend on.
            4 => Instruction::Vmwrite {
                field: Field::GuestRip.encoding().0.into(),
                from: Source::Memory(&memory),
            },
            5 => Instruction::Invept {
                kind: operand & 3,
                descriptor: &memory,
            },
            6 => Instruction::Invvpid {
                kind: operand & 7,
                descriptor: &memory,
            },
            7 => Instruction::Vmcall,
            8 => Instruction::Vmfunc {
                function: operand as u32,
                operand: (operand >> 32) as u32,
            },
            _ => Instruction::Vmxon(&memory),
        });
    }

    /// An exception of L2's, unless an event is on its way: what becomes of two of them is another
    /// matter.
    fn raise(&mut self, exception: PendingException) {
        if self.machine.vmx.injection().is_none() {
            let _ = self.machine.vmx.raise_exception(exception);
            self.forced_in_a_row = 0;
        }
    }

    fn step(&mut self) -> Result<(), Violation> {
        let was_l2 = self.machine.vmx.operation().is_non_root();
        let injection = self.machine.vmx.injection();
        let stepped = self.machine.step();
        self.book();
        if stepped.decision == Decision::Smm {
            self.machine
                .with_border(|vmx, border| vmx.enter_smm(border));
        }
        if let Decision::L2(how) = stepped.decision {
            self.check_forced(how.immediate_exit)?;
            if self.machine.vmx.operation().is_run_pending() {
                return Err(Violation::PendingInHandler);
            }
        }
        if let Some(HardwareExit::Exit { .. } | HardwareExit::Returned { .. }) = stepped.exit {
            self.entry_is_owed = false;
        }
        let is_l1 = matches!(self.machine.vmx.operation(), crate::l0::Operation::Root(_));
        if was_l2 && is_l1 {
            let withdrawn = matches!(stepped.exit, Some(HardwareExit::EntryFailure { .. }))
                || matches!(stepped.after, Some(AfterExit::EntryUnwound(_)));
            match (withdrawn, stepped.decision) {
                // What was to be delivered by this entry, an event that L0 added included.
                (true, Decision::L2(how)) => self.ledger.withdrawn(how.injection),
                (true, _) => self.ledger.withdrawn(injection),
                (false, _) if self.entry_is_owed => return Err(Violation::NotEntered),
                (false, _) => self.exited(),
            }
            self.entry_is_owed = false;
        }
        Ok(())
    }

    /// What L1 sees of an exit.
    fn exited(&mut self) {
        let vmcs12 = self.machine.vmx.vmcs12();
        let vectoring = Event::from_fields(
            vmcs12.idt_vectoring_info_field(),
            vmcs12.idt_vectoring_error_code(),
            vmcs12.vm_exit_instruction_len(),
        );
        if let Some(event) = vectoring {
            self.ledger.went(event);
        }
        let cause = Event::from_fields(vmcs12.vm_exit_intr_info(), 0, 0);
        let reason = ExitReason(vmcs12.vm_exit_reason());
        let counts = matches!(
            reason,
            ExitReason::EXTERNAL_INTERRUPT | ExitReason::EXCEPTION_OR_NMI
        );
        if let Some(event) = cause
            && counts
            && (reason == ExitReason::EXTERNAL_INTERRUPT || event == Event::NMI)
        {
            self.ledger.went(event);
        }
    }

    /// An immediate exit must bring what it is for.
    fn check_forced(&mut self, immediate_exit: bool) -> Result<(), Violation> {
        if !immediate_exit {
            self.forced_in_a_row = 0;
            return Ok(());
        }
        self.forced_in_a_row += 1;
        // An entry, a delivery that was tried again a few times, and as many events as can wait.
        const ENOUGH: u32 = 40;
        match self.forced_in_a_row > ENOUGH {
            true => Err(Violation::EndlessImmediateExits),
            false => Ok(()),
        }
    }

    /// What the processor delivered, and what notifications were processed.
    fn book(&mut self) {
        for event in self.machine.cpu.take_delivered() {
            self.ledger.went(event);
        }
    }

    fn reset(&mut self) {
        self.ledger.withdrawn(self.machine.vmx.injection());
        if self.machine.vmx.pending().nmi {
            self.ledger.withdrawn(Some(Event::NMI));
        }
        self.machine.with_border(|vmx, border| vmx.reset(border));
        self.machine.cpu.clear_script();
        self.entry_is_owed = false;
    }

    /// The virtual processor moves to another machine.
    fn migrate(&mut self) -> Result<(), Violation> {
        let snapshot = self.machine.with_border(|vmx, border| vmx.save(border));
        let mut target = Machine::with_memory(&self.capabilities, ModelMemory::new(0));
        core::mem::swap(&mut target.memory, &mut self.machine.memory);
        core::mem::swap(&mut target.msrs, &mut self.machine.msrs);
        core::mem::swap(&mut target.interrupts, &mut self.machine.interrupts);
        target
            .with_border(|vmx, border| vmx.restore(&snapshot, border))
            .map_err(Violation::SnapshotRefused)?;
        let again = target.with_border(|vmx, border| vmx.save(border));
        if again != snapshot {
            return Err(Violation::SnapshotChanged);
        }
        self.machine = target;
        Ok(())
    }

    /// L1 runs with interrupts on.
    fn l1_takes_events(&mut self) {
        if self.machine.vmx.operation().is_non_root() {
            return;
        }
        if core::mem::take(&mut self.machine.vmx.pending_mut().nmi) {
            self.ledger.went(Event::NMI);
        }
        while let Some(vector) = crate::l0::Interrupts::pending(&self.machine.interrupts) {
            crate::l0::Interrupts::acknowledge(&mut self.machine.interrupts, vector);
            self.ledger.went(Event::external_interrupt(vector));
        }
    }

    fn check(&self) -> Result<(), Violation> {
        let vmx = &self.machine.vmx;
        if vmx.operation().is_non_root() {
            let launched = vmx.vmcs12().launch_state() == crate::vmcs::LaunchState::Launched;
            if vmx.operation().current() != Some(Machine::VMCS) || !launched {
                return Err(Violation::NoCurrentVmcs);
            }
        } else if vmx.injection().is_some() && !vmx.is_in_smm() {
            return Err(Violation::InjectionWithoutL2);
        }
        self.ledger.check(
            vmx.injection(),
            vmx.pending().nmi,
            self.machine.interrupts.vectors(),
        )
    }
}

/// The fields that ask for the injection of this event.
fn fields_of(inject: Option<Event>) -> (u32, u32, u32) {
    inject.map_or((0, 0, 0), |event| {
        (
            event.information(),
            event.error_code.unwrap_or(0),
            event.instruction_length,
        )
    })
}

fn set_injection(vmcs12: &mut Vmcs, inject: Option<Event>) {
    let (information, code, length) = fields_of(inject);
    vmcs12.write(Field::VmEntryIntrInfoField, information.into());
    vmcs12.write(Field::VmEntryExceptionErrorCode, code.into());
    vmcs12.write(Field::VmEntryInstructionLen, length.into());
}

/// One bit of `seed` for each thing that L1 may want.
fn configure(vmcs12: &mut Vmcs, seed: u32) {
    use crate::controls::{ExitControls, PinControls, PrimaryControls};
    let bit = |number: u32| seed >> number & 1 != 0;
    let mut pin = vmcs12.pin();
    pin.set(PinControls::EXTERNAL_INTERRUPT_EXITING, bit(0));
    pin.set(PinControls::NMI_EXITING, bit(1));
    pin.set(PinControls::VIRTUAL_NMIS, bit(1) && bit(2));
    pin.set(PinControls::PREEMPTION_TIMER, bit(3));
    let mut exit = vmcs12.exit();
    exit.set(ExitControls::ACKNOWLEDGE_INTERRUPT_ON_EXIT, bit(4));
    exit.set(ExitControls::SAVE_PREEMPTION_TIMER, bit(3) && bit(5));
    let mut primary = vmcs12.primary();
    primary.set(PrimaryControls::HLT_EXITING, bit(6));
    primary.set(PrimaryControls::INTERRUPT_WINDOW_EXITING, bit(7));
    primary.set(
        PrimaryControls::NMI_WINDOW_EXITING,
        bit(1) && bit(2) && bit(8),
    );
    primary.set(PrimaryControls::MONITOR_TRAP_FLAG, bit(9));
    let interruptible = u64::from(bit(10)) << 9;
    let exceptions = match bit(11) {
        true => 1 << 14 | 1 << 1,
        false => 0,
    };
    let activity = match (seed >> 12) & 7 {
        activity @ 1..=3 => activity,
        _ => 0,
    };
    for (field, value) in [
        (Field::PinBasedVmExecControl, pin.bits().into()),
        (Field::VmExitControls, exit.bits().into()),
        (Field::CpuBasedVmExecControl, primary.bits().into()),
        (Field::GuestRflags, 2 | interruptible),
        (Field::ExceptionBitmap, exceptions),
        (Field::GuestActivityState, activity.into()),
        (Field::VmxPreemptionTimerValue, u64::from(seed >> 16 & 0xff)),
    ] {
        vmcs12.write(field, value);
    }
}

/// A script's instruction that ends the entry with an exit of this reason.
pub(super) const fn exits(reason: ExitReason) -> L2Instruction {
    L2Instruction::Exit(ExitInformation::new(reason))
}
