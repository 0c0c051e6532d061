// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Who gets each exit of L2's: every row of `facts/exit_reasons.tsv`.
#![allow(clippy::expect_used, clippy::panic, reason = "a test may")]

mod facts;

use std::collections::BTreeSet;

use nested_vmx::controls::{PrimaryControls as P, SecondaryControls as S, TertiaryControls as T};
use nested_vmx::exit_reason::ExitReason as R;
use nested_vmx::interruption::{Event, EventType};
use nested_vmx::memory::L1Memory;
use nested_vmx::model::ModelMemory;
use nested_vmx::route::{Exit, L0Wants, Route, route};
use nested_vmx::vmcs::{Field, KVM_REVISION, Vmcs};

use Route::{L0, L1, Swallow};

/// What L1 must ask for to get the exit, and who gets it otherwise.
enum Rule {
    Always(Route),
    Primary(P, Route),
    Secondary(S, Route),
    Both(P, S, Route),
    Tertiary(T, Route),
    /// Tested below.
    Own,
}

/// By the SDM. Where the table of the kernel's choices says more or less, the reason is behind it.
fn rule(reason: R) -> Rule {
    use Rule::{Always, Both, Own, Primary, Secondary, Tertiary};
    match reason {
        R::EXCEPTION_OR_NMI
        | R::VMREAD
        | R::VMWRITE
        | R::CR_ACCESS
        | R::IO_INSTRUCTION
        | R::RDMSR
        | R::WRMSR
        | R::RDMSR_IMMEDIATE
        | R::WRMSRNS_IMMEDIATE
        | R::PAUSE
        | R::ENCLS
        | R::ENCLV
        | R::PCONFIG
        | R::XSAVES
        | R::XRSTORS
        | R::CPUID
        | R::MONITOR_TRAP_FLAG => Own,
        // The kernel asks for L1's wish later, when it looks at what waits.
        R::EXTERNAL_INTERRUPT
        | R::PML_FULL
        | R::SPP_EVENT
        | R::EPT_VIOLATION
        | R::EPT_MISCONFIGURATION
        | R::VMFUNC => Always(L0),
        R::PREEMPTION_TIMER => Always(Swallow),
        // Failed entries are not routed, and a machine check is the host's.
        R::ENTRY_FAILURE_GUEST_STATE
        | R::ENTRY_FAILURE_MSR_LOADING
        | R::ENTRY_FAILURE_MACHINE_CHECK => Always(L0),
        R::SEAMCALL | R::TDCALL | R::ENQCMD_PASID | R::ENQCMDS_PASID | R::URDMSR | R::UWRMSR => {
            Always(L0)
        }
        R::INTERRUPT_WINDOW => Primary(P::INTERRUPT_WINDOW_EXITING, Swallow),
        R::NMI_WINDOW => Primary(P::NMI_WINDOW_EXITING, Swallow),
        R::HLT => Primary(P::HLT_EXITING, L0),
        R::INVLPG => Primary(P::INVLPG_EXITING, L0),
        R::RDPMC => Primary(P::RDPMC_EXITING, L0),
        R::RDTSC | R::RDTSCP => Primary(P::RDTSC_EXITING, L0),
        R::DR_ACCESS => Primary(P::MOV_DR_EXITING, L0),
        R::MWAIT => Primary(P::MWAIT_EXITING, L0),
        R::MONITOR => Primary(P::MONITOR_EXITING, L0),
        R::TPR_BELOW_THRESHOLD => Primary(P::USE_TPR_SHADOW, L0),
        R::GDTR_IDTR_ACCESS | R::LDTR_TR_ACCESS => Secondary(S::DESCRIPTOR_TABLE_EXITING, L0),
        R::WBINVD => Secondary(S::WBINVD_EXITING, L0),
        R::RDRAND => Secondary(S::RDRAND_EXITING, L0),
        R::RDSEED => Secondary(S::RDSEED_EXITING, L0),
        R::INVPCID => Both(P::INVLPG_EXITING, S::ENABLE_INVPCID, L0),
        // The kernel asks for one of the two; without RDTSC exiting they do not exit.
        R::UMWAIT | R::TPAUSE => Both(P::RDTSC_EXITING, S::ENABLE_USER_WAIT_AND_PAUSE, L0),
        // They exit only if L1 turned the feature on, so the kernel does not ask.
        R::APIC_ACCESS => Secondary(S::VIRTUALIZE_APIC_ACCESSES, L0),
        R::APIC_WRITE => Secondary(S::APIC_REGISTER_VIRTUALIZATION, L0),
        R::VIRTUALIZED_EOI => Secondary(S::VIRTUAL_INTERRUPT_DELIVERY, L0),
        // The kernel does not offer them to L1.
        R::BUS_LOCK => Secondary(S::BUS_LOCK_DETECTION, L0),
        R::NOTIFY => Secondary(S::NOTIFY_VM_EXITING, L0),
        R::LOADIWKEY => Tertiary(T::LOADIWKEY_EXITING, L0),
        R::RDMSRLIST | R::WRMSRLIST => Tertiary(T::ENABLE_MSR_LIST, L0),
        _ => Always(L1),
    }
}

fn memory() -> ModelMemory {
    ModelMemory::new(0x8000)
}

fn vmcs12() -> Vmcs {
    Vmcs::new(KVM_REVISION)
}

fn with_primary(mut vmcs12: Vmcs, controls: P) -> Vmcs {
    let bits = (vmcs12.primary() | controls).bits();
    vmcs12.write(Field::CpuBasedVmExecControl, bits.into());
    vmcs12
}

fn with_secondary(vmcs12: Vmcs, controls: S) -> Vmcs {
    let mut vmcs12 = with_primary(vmcs12, P::ACTIVATE_SECONDARY_CONTROLS);
    vmcs12.write(Field::SecondaryVmExecControl, controls.bits().into());
    vmcs12
}

fn with_tertiary(vmcs12: Vmcs, controls: T) -> Vmcs {
    let mut vmcs12 = with_primary(vmcs12, P::ACTIVATE_TERTIARY_CONTROLS);
    vmcs12.write(Field::TertiaryVmExecControl, controls.bits());
    vmcs12
}

fn routed(exit: &Exit, vmcs12: &Vmcs) -> Route {
    route(exit, vmcs12, &memory(), &L0Wants::default())
}

#[test]
fn every_row() {
    let mut numbers = BTreeSet::new();
    for row in facts::rows("exit_reasons.tsv") {
        let number: u32 = row["number"].parse().expect("a number");
        numbers.insert(number);
        let reason = R(number);
        let exit = Exit::new(reason);
        let reserved = row["bochs_name"].contains("RESERVED") && row["linux_name"] == "-";
        if reserved {
            assert_eq!(reason.name(), None);
            assert_eq!(routed(&exit, &vmcs12()), L0, "{reason}");
            continue;
        }
        assert!(reason.name().is_some(), "{number}");
        let (asked, otherwise) = match rule(reason) {
            Rule::Own => continue,
            Rule::Always(expected) => {
                assert_eq!(routed(&exit, &vmcs12()), expected, "{reason}");
                continue;
            }
            Rule::Primary(controls, otherwise) => (with_primary(vmcs12(), controls), otherwise),
            Rule::Secondary(controls, otherwise) => (with_secondary(vmcs12(), controls), otherwise),
            Rule::Tertiary(controls, otherwise) => (with_tertiary(vmcs12(), controls), otherwise),
            Rule::Both(primary, secondary, otherwise) => {
                let one = with_primary(vmcs12(), primary);
                assert_eq!(routed(&exit, &one), otherwise, "{reason}");
                let other = with_secondary(vmcs12(), secondary);
                assert_eq!(routed(&exit, &other), otherwise, "{reason}");
                (with_primary(other, primary), otherwise)
            }
        };
        assert_eq!(routed(&exit, &asked), L1, "{reason}, asked for");
        assert_eq!(
            routed(&exit, &vmcs12()),
            otherwise,
            "{reason}, not asked for"
        );
    }
    assert_eq!(numbers.len(), 86);
    for reason in R::ALL {
        assert!(numbers.contains(&reason.0), "{reason} is not in the table");
    }
}

#[test]
fn secondary_controls_count_only_when_activated() {
    let mut vmcs12 = vmcs12();
    let controls = S::WBINVD_EXITING.bits();
    vmcs12.write(Field::SecondaryVmExecControl, controls.into());
    assert_eq!(routed(&Exit::new(R::WBINVD), &vmcs12), L0);
}

#[test]
fn exceptions() {
    let exit = |event| Exit {
        event: Some(event),
        ..Exit::new(R::EXCEPTION_OR_NMI)
    };
    let ud = exit(Event::exception(6, None));
    let mut vmcs12 = vmcs12();
    assert_eq!(routed(&ud, &vmcs12), L0);
    vmcs12.write(Field::ExceptionBitmap, 1 << 6 | 1 << 14 | 1 << 20);
    assert_eq!(routed(&ud, &vmcs12), L1);
    // A physical NMI is the host's, and so is a virtualization exception of L0's making.
    assert_eq!(routed(&exit(Event::NMI), &vmcs12), L0);
    assert_eq!(routed(&exit(Event::exception(20, None)), &vmcs12), L0);
    let page_fault = |code| exit(Event::exception(14, Some(code)));
    vmcs12.write(Field::PageFaultErrorCodeMask, 4);
    vmcs12.write(Field::PageFaultErrorCodeMatch, 4);
    assert_eq!(routed(&page_fault(6), &vmcs12), L1);
    assert_eq!(routed(&page_fault(2), &vmcs12), L0);
    // What L0 intercepts for itself it sees first.
    let wants = L0Wants {
        exceptions: 1 << 6,
        ..L0Wants::default()
    };
    assert_eq!(route(&ud, &vmcs12, &memory(), &wants), L0);
    let software = exit(Event::new(EventType::SoftwareException, 3));
    vmcs12.write(Field::ExceptionBitmap, 1 << 3);
    assert_eq!(routed(&software, &vmcs12), L1);
    assert_eq!(routed(&Exit::new(R::EXCEPTION_OR_NMI), &vmcs12), L0);
}

#[test]
fn control_registers() {
    const MOV_TO: u64 = 0;
    const MOV_FROM: u64 = 1 << 4;
    const CLTS: u64 = 2 << 4;
    const LMSW: u64 = 3 << 4;
    let access = |qualification, rax| {
        let mut exit = Exit::new(R::CR_ACCESS);
        exit.qualification = qualification;
        exit.registers[0] = rax;
        exit
    };
    let mut vmcs12 = vmcs12();
    vmcs12.write(Field::Cr0GuestHostMask, 1 << 3 | 1);
    vmcs12.write(Field::Cr0ReadShadow, 1 << 3);
    vmcs12.write(Field::Cr4GuestHostMask, 1 << 5);
    let to_cr0 = |value| routed(&access(MOV_TO, value), &vmcs12);
    assert_eq!(
        to_cr0(1 << 3 | 1 << 5),
        L0,
        "L1's bits are as in the shadow"
    );
    assert_eq!(to_cr0(0), L1);
    assert_eq!(to_cr0(1 << 3 | 1), L1);
    assert_eq!(routed(&access(MOV_TO | 4, 0), &vmcs12), L0);
    assert_eq!(routed(&access(MOV_TO | 4, 1 << 5), &vmcs12), L1);
    assert_eq!(
        routed(&access(CLTS, 0), &vmcs12),
        L1,
        "TS is 1 in the shadow"
    );
    // LMSW with source operand in bits 31:16: PE can be set, not cleared.
    assert_eq!(routed(&access(LMSW | 8 << 16, 0), &vmcs12), L0);
    assert_eq!(routed(&access(LMSW | 9 << 16, 0), &vmcs12), L1);
    assert_eq!(routed(&access(LMSW, 0), &vmcs12), L1, "clears TS");
    vmcs12.write(Field::Cr0ReadShadow, 1);
    assert_eq!(routed(&access(CLTS, 0), &vmcs12), L0);
    assert_eq!(routed(&access(LMSW, 0), &vmcs12), L0);

    let cr3 = with_primary(vmcs12.clone(), P::CR3_LOAD_EXITING);
    assert_eq!(routed(&access(MOV_TO | 3, 0x5000), &vmcs12), L0);
    assert_eq!(routed(&access(MOV_TO | 3, 0x5000), &cr3), L1);
    let mut targets = cr3;
    targets.write(Field::Cr3TargetValue1, 0x5000);
    targets.write(Field::Cr3TargetCount, 1);
    assert_eq!(routed(&access(MOV_TO | 3, 0x5000), &targets), L1);
    targets.write(Field::Cr3TargetCount, 2);
    assert_eq!(routed(&access(MOV_TO | 3, 0x5000), &targets), L0);
    targets.write(Field::Cr3TargetCount, u32::MAX.into());
    assert_eq!(routed(&access(MOV_TO | 3, 0x6000), &targets), L1);
    for (controls, qualification) in [
        (P::CR3_STORE_EXITING, MOV_FROM | 3),
        (P::CR8_LOAD_EXITING, MOV_TO | 8),
        (P::CR8_STORE_EXITING, MOV_FROM | 8),
    ] {
        assert_eq!(routed(&access(qualification, 0), &vmcs12), L0);
        let asked = with_primary(vmcs12.clone(), controls);
        assert_eq!(routed(&access(qualification, 0), &asked), L1);
    }
}

#[test]
fn what_has_a_rule_of_its_own() {
    let leaf = |reason, rax| {
        let mut exit = Exit::new(reason);
        exit.registers[0] = rax;
        exit
    };
    for (reason, controls, field) in [
        (R::ENCLS, S::ENCLS_EXITING, Field::EnclsExitingBitmap),
        (R::ENCLV, S::ENCLV_EXITING, Field::EnclvExitingBitmap),
        (R::PCONFIG, S::ENABLE_PCONFIG, Field::PconfigExitingBitmap),
    ] {
        let mut vmcs12 = with_secondary(vmcs12(), controls);
        vmcs12.write(field, 1 << 63 | 1 << 2);
        for (rax, expected) in [
            (2, L1),
            (3, L0),
            (62, L0),
            (63, L1),
            (64, L1),
            (1 << 32 | 3, L0),
        ] {
            assert_eq!(
                routed(&leaf(reason, rax), &vmcs12),
                expected,
                "{reason} {rax}"
            );
        }
    }
    for reason in [R::XSAVES, R::XRSTORS] {
        let mut vmcs12 = with_secondary(vmcs12(), S::ENABLE_XSAVES);
        vmcs12.write(Field::XssExitBitmap, 1 << 8);
        assert_eq!(routed(&leaf(reason, 1 << 8), &vmcs12), L1);
        assert_eq!(routed(&leaf(reason, 1 << 9), &vmcs12), L0);
    }
    for controls in [
        with_primary(vmcs12(), P::PAUSE_EXITING),
        with_secondary(vmcs12(), S::PAUSE_LOOP_EXITING),
    ] {
        assert_eq!(routed(&Exit::new(R::PAUSE), &controls), L1);
    }
    assert_eq!(routed(&Exit::new(R::PAUSE), &vmcs12()), L0);
    // What L0 steps for itself.
    let trap = with_primary(vmcs12(), P::MONITOR_TRAP_FLAG);
    let wants = L0Wants {
        monitor_trap: true,
        cpuid: true,
        ..L0Wants::default()
    };
    let exit = Exit::new(R::MONITOR_TRAP_FLAG);
    assert_eq!(routed(&exit, &trap), L1);
    assert_eq!(routed(&exit, &vmcs12()), Swallow);
    assert_eq!(route(&exit, &trap, &memory(), &wants), L0);
    assert_eq!(routed(&Exit::new(R::CPUID), &vmcs12()), L1);
    assert_eq!(
        route(&Exit::new(R::CPUID), &vmcs12(), &memory(), &wants),
        L0
    );
}

#[test]
fn fields_that_l2_may_access_are_l0s() {
    let memory = memory();
    let mut vmcs12 = with_secondary(vmcs12(), S::VMCS_SHADOWING);
    vmcs12.write(Field::VmreadBitmap, 0x1000);
    vmcs12.write(Field::VmwriteBitmap, 0x2000);
    let exit = |reason, field: u64| {
        let mut exit = Exit::new(reason);
        exit.instruction_information = 9 << 28;
        exit.registers[9] = field;
        exit
    };
    let routed = |exit: &Exit, vmcs12: &Vmcs| route(exit, vmcs12, &memory, &L0Wants::default());
    assert_eq!(routed(&exit(R::VMREAD, 0x681e), &vmcs12), L0);
    memory
        .write(0x1000 + (0x681e >> 3), &[1 << (0x681e & 7)])
        .expect("memory");
    assert_eq!(routed(&exit(R::VMREAD, 0x681e), &vmcs12), L1);
    assert_eq!(routed(&exit(R::VMWRITE, 0x681e), &vmcs12), L0);
    assert_eq!(routed(&exit(R::VMREAD, 0x8000), &vmcs12), L1);
    let mut high = exit(R::VMREAD, 1 << 32 | 0x681c);
    assert_eq!(routed(&high, &vmcs12), L1);
    high.is_64_bit = false;
    assert_eq!(routed(&high, &vmcs12), L0);
}
