// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the tests of the state machine share: virtual processors in a known state.
#![allow(clippy::expect_used, clippy::panic, reason = "a test may")]
#![allow(dead_code, reason = "each test program uses a part of it")]

use nested_vmx::capability::{Capabilities, Processor};
use nested_vmx::controls::{ExitControls, PinControls, PrimaryControls, SecondaryControls};
use nested_vmx::interruption::Event;
use nested_vmx::l0::{Decision, EnterL2};
use nested_vmx::model::{Machine, Stepped, vmcs12_of};
use nested_vmx::vmcs::{Field, Vmcs};

/// All that this crate offers.
pub fn capabilities() -> Capabilities {
    Capabilities::software(Processor::new(40))
}

/// A vmcs12 to be changed before it is launched.
pub struct L2(pub Vmcs);

impl L2 {
    /// L2 in 64-bit mode with interrupts off; nothing exits but what always does.
    pub fn new() -> Self {
        Self(vmcs12_of(&capabilities()))
    }

    /// Sets a field.
    pub fn with(mut self, field: Field, value: u64) -> Self {
        self.0.write(field, value);
        self
    }

    /// Sets pin-based controls.
    pub fn pin(self, controls: PinControls) -> Self {
        let value = u64::from((self.0.pin() | controls).bits());
        self.with(Field::PinBasedVmExecControl, value)
    }

    /// Sets primary controls.
    pub fn primary(self, controls: PrimaryControls) -> Self {
        let value = u64::from((self.0.primary() | controls).bits());
        self.with(Field::CpuBasedVmExecControl, value)
    }

    /// Sets secondary controls, and activates them.
    pub fn secondary(self, controls: SecondaryControls) -> Self {
        let value = u64::from((self.0.secondary() | controls).bits());
        self.primary(PrimaryControls::ACTIVATE_SECONDARY_CONTROLS)
            .with(Field::SecondaryVmExecControl, value)
    }

    /// Sets exit controls.
    pub fn exit(self, controls: ExitControls) -> Self {
        let value = u64::from((self.0.exit() | controls).bits());
        self.with(Field::VmExitControls, value)
    }

    /// Turns interrupts on in L2.
    pub fn interruptible(self) -> Self {
        self.with(Field::GuestRflags, 0x202)
    }

    /// L1 injects this event.
    pub fn inject(self, event: Event) -> Self {
        self.with(Field::VmEntryIntrInfoField, event.information().into())
            .with(
                Field::VmEntryExceptionErrorCode,
                event.error_code.unwrap_or(0).into(),
            )
            .with(
                Field::VmEntryInstructionLen,
                event.instruction_length.into(),
            )
    }

    /// External interrupts exit, acknowledged, and NMIs exit.
    pub fn intercepting_all(self) -> Self {
        self.pin(PinControls::EXTERNAL_INTERRUPT_EXITING | PinControls::NMI_EXITING)
            .exit(ExitControls::ACKNOWLEDGE_INTERRUPT_ON_EXIT)
    }

    /// L1 launches it. Its entry is pending.
    pub fn launch(&self) -> Machine {
        Machine::launched(&capabilities(), &self.0).expect("a valid vmcs12")
    }

    /// L1 launches it, and it is entered.
    pub fn run(&self) -> Machine {
        let mut machine = self.launch();
        let stepped = machine.step();
        assert!(matches!(stepped.decision, Decision::L2(_)), "{stepped:?}");
        assert!(machine.vmx.operation().is_non_root());
        machine
    }
}

/// The step entered L2 in this way.
pub fn entered(stepped: &Stepped) -> EnterL2 {
    match stepped.decision {
        Decision::L2(how) => how,
        other => panic!("L2 was not entered: {other:?}"),
    }
}

/// The exit that L1 sees: reason, interruption information, IDT-vectoring information.
pub fn seen_by_l1(machine: &Machine) -> (u32, Option<Event>, Option<Event>) {
    assert!(!machine.vmx.operation().is_non_root(), "L2 is active");
    let vmcs12 = machine.vmx.vmcs12();
    (
        vmcs12.vm_exit_reason(),
        Event::from_fields(
            vmcs12.vm_exit_intr_info(),
            vmcs12.vm_exit_intr_error_code(),
            vmcs12.vm_exit_instruction_len(),
        ),
        Event::from_fields(
            vmcs12.idt_vectoring_info_field(),
            vmcs12.idt_vectoring_error_code(),
            vmcs12.vm_exit_instruction_len(),
        ),
    )
}
