// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Rules of VM entry at their edges: the last value that is accepted, and the first that is not.
#![allow(clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use common::everything;
use nested_vmx::capability::Capabilities;
use nested_vmx::check::{Allowed, EntryRequest, L1State, Rule, Subject};
use nested_vmx::controls::{
    EntryControls as Entry, ExitControls as Exit, PinControls as Pin, PrimaryControls as Primary,
    SecondaryControls as Secondary, SecondaryExitControls as SecondaryExit,
    TertiaryControls as Tertiary,
};
use nested_vmx::model::vmcs12_of;
use nested_vmx::registers::{cr0, cr4, rflags};
use nested_vmx::vmcs::{Field, Vmcs};

/// L1 in 64-bit mode.
const L1: L1State = L1State::new(0x8000_0031, 0x2020, 0x500);

/// A VMCS that is accepted, changed step by step.
#[derive(Clone)]
struct State {
    capabilities: Capabilities,
    vmcs: Vmcs,
    l1: L1State,
    current: Option<u64>,
}

impl State {
    fn new() -> Self {
        let capabilities = everything();
        let state = Self {
            capabilities,
            vmcs: vmcs12_of(&capabilities),
            l1: L1,
            current: Some(0x5000),
        };
        state.accepted();
        state
    }

    fn with(mut self, field: Field, value: u64) -> Self {
        self.vmcs.write(field, value);
        self
    }

    fn insert(self, field: Field, bits: impl Into<u64>) -> Self {
        let value = self.vmcs.read(field) | bits.into();
        self.with(field, value)
    }

    fn remove(self, field: Field, bits: impl Into<u64>) -> Self {
        let value = self.vmcs.read(field) & !bits.into();
        self.with(field, value)
    }

    fn request(&self) -> EntryRequest<'_> {
        EntryRequest {
            current: self.current,
            ..EntryRequest::new(&self.capabilities, &self.vmcs, self.l1)
        }
    }

    fn broken(&self) -> Vec<&'static str> {
        let rules = self.request().check_all().rules();
        rules.iter().map(Rule::id).collect()
    }

    #[track_caller]
    fn accepted(&self) -> &Self {
        assert_eq!(self.broken(), [""; 0]);
        self
    }

    /// This rule is broken, and no other.
    #[track_caller]
    fn refused(&self, id: &str) -> &Self {
        assert_eq!(self.broken(), [id]);
        self
    }

    /// What this rule says.
    #[track_caller]
    fn says(&self, id: &str) -> (Subject, Allowed) {
        let rule = Rule::from_id(id).expect("a rule");
        let failure = self.request().check_rule(rule).expect("it is broken");
        (failure.violation.subject, failure.violation.allowed)
    }
}

/// With secondary controls, which `State::new` activates.
fn secondary(controls: Secondary) -> State {
    State::new().insert(Field::SecondaryVmExecControl, controls.bits())
}

fn tertiary(controls: Tertiary) -> State {
    State::new()
        .insert(
            Field::CpuBasedVmExecControl,
            Primary::ACTIVATE_TERTIARY_CONTROLS.bits(),
        )
        .with(Field::TertiaryVmExecControl, controls.bits())
}

fn secondary_exit(controls: SecondaryExit) -> State {
    State::new()
        .insert(
            Field::VmExitControls,
            Exit::ACTIVATE_SECONDARY_CONTROLS.bits(),
        )
        .with(Field::SecondaryVmExitControls, controls.bits())
}

fn entry(controls: Entry) -> State {
    State::new().insert(Field::VmEntryControls, controls.bits())
}

/// With bits of FRED's guest, in 64-bit code at this privilege level.
fn fred_guest(privilege: u64) -> State {
    State::new()
        .insert(Field::GuestCr4, cr4::FRED)
        .insert(Field::GuestCsArBytes, privilege << 5)
        .insert(Field::GuestSsArBytes, privilege << 5)
        .insert(Field::GuestCsSelector, privilege)
        .insert(Field::GuestSsSelector, privilege)
}

#[test]
fn host_cr0_without_the_caching_bits() {
    let mut state = State::new().remove(Field::HostCr0, cr0::NW | cr0::CD);
    state.capabilities.cr0_fixed0 |= cr0::NW;
    state.capabilities.cr0_fixed1 &= !(cr0::CD | cr0::MP);
    state.accepted();
    let caching = state.clone().insert(Field::HostCr0, cr0::CD);
    caching.accepted();
    state.insert(Field::HostCr0, cr0::MP).refused("host_cr0");
}

#[test]
fn a_32_bit_host_has_no_fred() {
    // In IA-32e mode, L1 cannot have a 32-bit host: it is the only other rule that is broken.
    let state = State::new()
        .remove(Field::VmExitControls, Exit::HOST_ADDRESS_SPACE_SIZE.bits())
        .remove(Field::VmExitControls, Exit::LOAD_EFER.bits())
        .remove(Field::VmEntryControls, Entry::IA32E_MODE_GUEST.bits())
        .remove(Field::VmEntryControls, Entry::LOAD_EFER.bits());
    let mut state = state.remove(Field::GuestCsArBytes, 1u64 << 13);
    state.l1.efer = 0;
    state.accepted();
    let broken = state.insert(Field::HostCr4, cr4::FRED);
    broken.refused("has0_guest");
    let allowed = Allowed::Bits {
        must_be_1: 0,
        may_be_1: !(cr4::PCIDE | cr4::FRED),
    };
    assert_eq!(
        broken.says("has0_guest"),
        (Subject::Field(Field::HostCr4), allowed)
    );
}

#[test]
fn the_hosts_cet_state_is_canonical_and_the_guests_need_not_be() {
    // 57 bits of linear addresses.
    const NOT_CANONICAL: u64 = 1 << 56;
    const TOO_HIGH: u64 = 1 << 57;
    let guest = entry(Entry::LOAD_CET)
        .with(Field::GuestSCet, NOT_CANONICAL)
        .with(Field::GuestSsp, NOT_CANONICAL)
        .with(Field::GuestIntrSspTable, 0);
    guest.accepted();
    guest.clone().with(Field::GuestSCet, TOO_HIGH).accepted();
    for (field, value) in [
        (Field::GuestSsp, TOO_HIGH),
        (Field::GuestSsp, 1),
        (Field::GuestSsp, 2),
        (Field::GuestSCet, 1 << 6),
        (Field::GuestSCet, 1 << 9),
        (Field::GuestSCet, 3 << 10),
        (Field::GuestIntrSspTable, NOT_CANONICAL),
    ] {
        guest.clone().with(field, value).refused("g_cet");
    }
    for (field, value) in [
        (Field::GuestSsp, !(TOO_HIGH - 1)),
        (Field::GuestSsp, 4),
        (Field::GuestSCet, 1 << 10),
        (Field::GuestSCet, 1 << 11),
        (Field::GuestSCet, 0x3f),
    ] {
        guest.clone().with(field, value).accepted();
    }

    let host = State::new()
        .insert(Field::VmExitControls, Exit::LOAD_CET.bits())
        .with(Field::HostSCet, 0x3f)
        .with(Field::HostSsp, 4)
        .with(Field::HostIntrSspTable, 0);
    host.accepted();
    for field in [Field::HostSCet, Field::HostSsp, Field::HostIntrSspTable] {
        host.clone()
            .with(field, (NOT_CANONICAL - 1) & !0xfff)
            .accepted();
        host.clone().with(field, NOT_CANONICAL).refused("host_cet");
    }
}

#[test]
fn bits_of_msrs_that_there_are() {
    for (control, field, id, good, bad) in [
        (
            Entry::LOAD_RTIT_CTL,
            Field::GuestIa32RtitCtl,
            "g_rtit",
            [1, 1 << 17, 1 << 22, 1 << 27, 1 << 31, 1 << 47, 3 << 55],
            [
                1 << 18,
                1 << 23,
                1 << 28,
                1 << 30,
                1 << 48,
                1 << 54,
                1 << 57,
            ],
        ),
        (
            Entry::LOAD_LBR_CTL,
            Field::GuestIa32LbrCtl,
            "g_lbr",
            [1, 2, 4, 8, 1 << 16, 1 << 22, 0x7f_000f],
            [1 << 4, 1 << 5, 1 << 14, 1 << 15, 1 << 23, 1 << 32, 1 << 63],
        ),
        (
            Entry::LOAD_SPEC_CTRL,
            Field::GuestIa32SpecCtrl,
            "g_spec_ctrl",
            [1, 2, 4, 1 << 7, 1 << 8, 1 << 10, 0x5ff],
            [1 << 9, 1 << 11, 1 << 12, 1 << 31, 1 << 32, 1 << 62, 1 << 63],
        ),
        (
            Entry::LOAD_PKRS,
            Field::GuestIa32Pkrs,
            "g_pkrs",
            [0, 1, 2, 1 << 15, 1 << 16, 1 << 31, 0xffff_ffff],
            [
                1 << 32,
                1 << 33,
                1 << 40,
                1 << 47,
                1 << 48,
                1 << 62,
                1 << 63,
            ],
        ),
        (
            Entry::LOAD_UINV,
            Field::GuestUinv,
            "g_uinv",
            [0, 1, 2, 15, 16, 0x7f, 0xff],
            [1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 14, 1 << 15],
        ),
    ] {
        for value in good {
            entry(control).with(field, value).accepted();
        }
        for value in bad {
            entry(control).with(field, value).refused(id);
            // Where the field is not loaded, it is not looked at.
            State::new().with(field, value).accepted();
        }
    }
    let (control, field) = (SecondaryExit::LOAD_SPEC_CTRL, Field::HostIa32SpecCtrl);
    secondary_exit(control).with(field, 0x5ff).accepted();
    secondary_exit(control)
        .with(field, 1 << 9)
        .refused("host_spec_ctrl");
    State::new().with(field, 1 << 9).accepted();
}

#[test]
fn fred_is_for_privilege_levels_0_and_3() {
    let kernel = fred_guest(0);
    kernel.accepted();
    kernel
        .clone()
        .insert(Field::GuestRflags, rflags::IOPL)
        .accepted();
    // Compatibility code.
    kernel
        .remove(Field::GuestCsArBytes, 1u64 << 13)
        .refused("g_fred_cpl");

    let user = fred_guest(3);
    user.accepted();
    user.clone()
        .remove(Field::GuestCsArBytes, 1u64 << 13)
        .accepted();
    user.clone()
        .insert(Field::GuestRflags, 1u64 << 12)
        .refused("g_fred_cpl");
    user.insert(Field::GuestRflags, rflags::IF)
        .insert(Field::GuestInterruptibilityInfo, 1u64)
        .refused("g_fred_cpl");

    for privilege in [1, 2] {
        fred_guest(privilege).refused("g_fred_cpl");
        fred_guest(privilege)
            .remove(Field::GuestCr4, cr4::FRED)
            .accepted();
    }
}

#[test]
fn fred_is_for_ia_32e_mode() {
    let state = State::new()
        .remove(Field::VmEntryControls, Entry::IA32E_MODE_GUEST.bits())
        .remove(Field::VmEntryControls, Entry::LOAD_EFER.bits())
        .remove(Field::GuestCsArBytes, 1u64 << 13);
    state.accepted();
    state.insert(Field::GuestCr4, cr4::FRED).refused("g_fred");
}

#[test]
fn system_calls_are_injected_with_fred() {
    const VALID: u64 = 1 << 31;
    const OTHER: u64 = 7 << 8;
    let with_fred = |vector: u64, length: u64| {
        fred_guest(3)
            .with(Field::VmEntryIntrInfoField, VALID | OTHER | vector)
            .with(Field::VmEntryInstructionLen, length)
    };
    for vector in 0..3 {
        with_fred(vector, 2).accepted();
    }
    with_fred(1, 0).accepted();
    with_fred(1, 15).accepted();
    with_fred(1, 16).refused("inj_len");
    // A pending MTF VM exit comes from no instruction.
    with_fred(0, 16).accepted();
    for vector in [3, 255] {
        with_fred(vector, 2).refused("inj_vec_other");
    }
    for vector in [1, 2] {
        let without = with_fred(vector, 2).remove(Field::GuestCr4, cr4::FRED);
        without.refused("inj_vec_other");
    }
}

#[test]
fn only_a_hardware_exception_is_nested() {
    const NESTED: u64 = 1 << 31 | 1 << 13;
    let state = |event: u64| State::new().with(Field::VmEntryIntrInfoField, NESTED | event);
    // #UD, NMI.
    state(3 << 8 | 6).accepted();
    state(2 << 8 | 2).refused("inj_rsvd");
    let mut old = state(3 << 8 | 6);
    old.capabilities.basic.0 &= !(1 << 58);
    old.refused("inj_rsvd");
}

#[test]
fn ipi_virtualization_needs_the_tpr_shadow_and_a_table_in_memory() {
    let ipi = tertiary(Tertiary::IPI_VIRTUALIZATION);
    ipi.refused("x2apic_etc_need_tpr");
    let ipi = ipi
        .insert(Field::CpuBasedVmExecControl, Primary::USE_TPR_SHADOW.bits())
        // Two entries before the end of 52 bits.
        .with(Field::PidPointerTable, (1 << 52) - 16);
    for last in [0, 1] {
        let state = ipi.clone().with(Field::LastPidPointerIndex, last);
        state.accepted();
    }
    let state = ipi.clone().with(Field::LastPidPointerIndex, 2);
    state.refused("ipi_virt");
    assert_eq!(
        state.says("ipi_virt"),
        (
            Subject::Field(Field::LastPidPointerIndex),
            Allowed::Range(0, 1)
        )
    );
    ipi.with(Field::PidPointerTable, 4).refused("ipi_virt");
}

#[test]
fn a_control_that_is_missing_is_asked_for_where_it_counts() {
    let posted = State::new()
        .insert(
            Field::PinBasedVmExecControl,
            (Pin::PROCESS_POSTED_INTERRUPTS | Pin::EXTERNAL_INTERRUPT_EXITING).bits(),
        )
        .insert(
            Field::VmExitControls,
            Exit::ACKNOWLEDGE_INTERRUPT_ON_EXIT.bits(),
        )
        .insert(Field::CpuBasedVmExecControl, Primary::USE_TPR_SHADOW.bits());
    posted.refused("pi_vid");
    let (subject, _) = posted.says("pi_vid");
    assert_eq!(subject, Subject::Field(Field::SecondaryVmExecControl));

    // What is in the field does not count where it is not activated.
    let inactive = posted
        .remove(
            Field::CpuBasedVmExecControl,
            Primary::ACTIVATE_SECONDARY_CONTROLS.bits(),
        )
        .insert(
            Field::SecondaryVmExecControl,
            Secondary::VIRTUAL_INTERRUPT_DELIVERY.bits(),
        );
    inactive.refused("pi_vid");
    let (subject, _) = inactive.says("pi_vid");
    assert_eq!(subject, Subject::Field(Field::CpuBasedVmExecControl));
    inactive
        .insert(
            Field::CpuBasedVmExecControl,
            Primary::ACTIVATE_SECONDARY_CONTROLS.bits(),
        )
        .accepted();
}

#[test]
fn leaving_smm_the_link_pointer_may_be_the_current_vmcs() {
    let mut state = State::new().with(Field::VmcsLinkPointer, 0x5000);
    state.refused("g_link_cur");
    state.l1.in_smm = true;
    state.accepted();
    // From SMM to SMM it is as outside.
    state
        .insert(Field::VmEntryControls, Entry::ENTRY_TO_SMM.bits())
        .insert(Field::GuestInterruptibilityInfo, 4u64)
        .refused("g_link_cur");
}

#[test]
fn eptp_switching_needs_ept() {
    let state = secondary(Secondary::ENABLE_VM_FUNCTIONS)
        .with(Field::VmFunctionControl, 1)
        .with(Field::EptpListAddress, 0x3000);
    state.refused("eptp_switch");
    let with_ept = state
        .insert(Field::SecondaryVmExecControl, Secondary::ENABLE_EPT.bits())
        .with(Field::EptPointer, 6 | 3 << 3);
    with_ept.accepted();
    with_ept
        .with(Field::EptpListAddress, 0x3800)
        .refused("eptp_switch");
}
