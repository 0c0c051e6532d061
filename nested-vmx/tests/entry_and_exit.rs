// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What VM entries put into vmcs02, and what VM exits put into vmcs12 and into L1.
#![allow(clippy::expect_used, clippy::panic, reason = "a test may")]

mod support;

use nested_vmx::controls::{
    EntryControls, ExitControls, PinControls, PrimaryControls, SecondaryControls, TertiaryControls,
};
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::interruption::{Event, EventType};
use nested_vmx::l0::{
    Abort, AfterExit, Decision, Destination, ExitInformation, Instruction, LinearFlush, NestedVmx,
    Outcome, PendingException, Source,
};
use nested_vmx::memory::L1Memory;
use nested_vmx::model::{L2Instruction, Machine, Value, l1_of};
use nested_vmx::msrs::Msrs;
use nested_vmx::vmcs::{Field, LaunchState, Vmcs};
use support::{L2, capabilities, entered, seen_by_l1};

const LSTAR: u32 = 0xc000_0082;
const MSR_AREA: u64 = 0x20000;

fn vmcs02(l2: &L2) -> Vmcs {
    l2.launch().vmx.vmcs02().clone()
}

/// L2 executes CPUID, which L1 sees.
fn exit(machine: &mut Machine) {
    let mut information = ExitInformation::new(ExitReason::CPUID);
    information.instruction_length = 2;
    machine.cpu.push(L2Instruction::Exit(information));
    machine.step();
}

#[test]
fn guest_state_is_l1s_choice() {
    let l2 = L2::new()
        .with(Field::GuestRip, 0x1234)
        .with(Field::GuestFsBase, 0x5678)
        .with(Field::GuestPendingDbgExceptions, 0)
        .with(Field::GuestSysenterEip, 0x9abc);
    let vmcs02 = vmcs02(&l2);
    for field in [
        Field::GuestRip,
        Field::GuestRsp,
        Field::GuestRflags,
        Field::GuestFsBase,
        Field::GuestSysenterEip,
        Field::GuestCsArBytes,
        Field::GuestTrSelector,
        Field::GuestIa32Efer,
    ] {
        assert_eq!(vmcs02.read(field), l2.0.read(field), "{field}");
    }
    assert_eq!(vmcs02.vmcs_link_pointer(), u64::MAX);
    assert_eq!(vmcs02.vm_entry_intr_info_field(), 0);
}

#[test]
fn controls_are_both_hypervisors() {
    let l2 = L2::new()
        .pin(PinControls::PREEMPTION_TIMER)
        .primary(
            PrimaryControls::HLT_EXITING
                | PrimaryControls::USE_IO_BITMAPS
                | PrimaryControls::INTERRUPT_WINDOW_EXITING,
        )
        .secondary(
            SecondaryControls::ENABLE_PML
                | SecondaryControls::ENABLE_EPT
                | SecondaryControls::WBINVD_EXITING,
        )
        .with(Field::EptPointer, 0x30000 | 0x5e)
        .with(Field::ExceptionBitmap, 1 << 6);
    let mut machine = Machine::with_vmcs(&capabilities(), &l2.0).expect("a VMCS");
    machine
        .vmx
        .vmcs01_mut()
        .write(Field::ExceptionBitmap, 1 << 17);
    let l0s = machine.vmx.vmcs01().clone();
    assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
    let vmcs02 = machine.vmx.vmcs02();
    assert!(
        vmcs02
            .pin()
            .contains(l0s.pin() | PinControls::PREEMPTION_TIMER)
    );
    let primary = vmcs02.primary();
    assert!(primary.contains(
        PrimaryControls::HLT_EXITING
            | PrimaryControls::INTERRUPT_WINDOW_EXITING
            | PrimaryControls::UNCONDITIONAL_IO_EXITING
            | PrimaryControls::CR8_LOAD_EXITING
    ));
    assert!(
        !primary.contains(PrimaryControls::USE_IO_BITMAPS),
        "they are L1-physical"
    );
    let secondary = vmcs02.secondary();
    assert!(secondary.contains(SecondaryControls::WBINVD_EXITING));
    // The processor never sees EPT12.
    assert!(!secondary.intersects(SecondaryControls::ENABLE_PML | SecondaryControls::ENABLE_EPT));
    assert_eq!(vmcs02.exception_bitmap(), 1 << 6 | 1 << 17);
    assert_eq!(vmcs02.vm_exit_controls(), l0s.vm_exit_controls());
    assert_eq!(vmcs02.read(Field::HostRip), l0s.read(Field::HostRip));
}

#[test]
fn page_faults_that_l0_wants_are_not_filtered() {
    let l2 = L2::new()
        .with(Field::PageFaultErrorCodeMask, 5)
        .with(Field::PageFaultErrorCodeMatch, 1);
    let filtered = vmcs02(&l2);
    assert_eq!(filtered.page_fault_error_code_mask(), 5);
    assert_eq!(filtered.page_fault_error_code_match(), 1);
    let mut machine = Machine::with_vmcs(&capabilities(), &l2.0).expect("a VMCS");
    machine
        .vmx
        .vmcs01_mut()
        .write(Field::ExceptionBitmap, 1 << 14);
    assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
    assert_eq!(machine.vmx.vmcs02().page_fault_error_code_mask(), 0);
    assert_eq!(machine.vmx.vmcs02().exception_bitmap(), 1 << 14);
}

#[test]
fn state_without_a_load_control_is_l1s_own() {
    let mut machine = Machine::with_vmcs(&capabilities(), &L2::new().0).expect("a VMCS");
    machine
        .cpu
        .state_mut()
        .write(Field::GuestIa32Pat, 0x0606_0606_0606_0606);
    machine.cpu.state_mut().write(Field::GuestDr7, 0x455);
    assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
    assert_eq!(machine.vmx.vmcs02().guest_ia32_pat(), 0x0606_0606_0606_0606);
    let loads_debug = machine
        .vmx
        .vmcs12()
        .entry()
        .contains(EntryControls::LOAD_DEBUG_CONTROLS);
    let expected = if loads_debug { 0x400 } else { 0x455 };
    assert_eq!(machine.vmx.vmcs02().guest_dr7(), expected);

    let entry = u64::from((L2::new().0.entry() | EntryControls::LOAD_PAT).bits());
    let l2 = L2::new()
        .with(Field::VmEntryControls, entry)
        .with(Field::GuestIa32Pat, 0);
    assert_eq!(vmcs02(&l2).guest_ia32_pat(), 0);
}

#[test]
fn the_tsc_is_l1s_with_l2s_offset() {
    let offset = 1000_u64;
    let mut l2 = L2::new()
        .primary(PrimaryControls::USE_TSC_OFFSETTING)
        .with(Field::TscOffset, offset);
    let launch = |l2: &L2| {
        let mut machine = Machine::with_vmcs(&capabilities(), &l2.0).expect("a VMCS");
        let vmcs01 = machine.vmx.vmcs01_mut();
        let controls = vmcs01.primary() | PrimaryControls::USE_TSC_OFFSETTING;
        vmcs01.write(Field::CpuBasedVmExecControl, controls.bits().into());
        vmcs01.write(Field::TscOffset, 1_u64.wrapping_neg());
        assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
        let vmcs02 = machine.vmx.vmcs02();
        (vmcs02.tsc_offset(), vmcs02.tsc_multiplier())
    };
    assert_eq!(launch(&l2), (999, 1 << 48));
    l2 = l2
        .secondary(SecondaryControls::TSC_SCALING)
        .with(Field::TscMultiplier, 2 << 48);
    assert_eq!(launch(&l2), (998, 2 << 48));
}

#[test]
fn msr_accesses_exit_for_both() {
    let l2 = L2::new()
        .primary(PrimaryControls::USE_MSR_BITMAPS)
        .with(Field::MsrBitmap, 0x24000);
    let mut machine = Machine::with_vmcs(&capabilities(), &l2.0).expect("a VMCS");
    *machine.vmx.msr_bitmap01_mut() = [0; 4096];
    machine.vmx.msr_bitmap01_mut()[2] = 1;
    machine.memory.write(0x24000 + 3, &[0x80]).expect("memory");
    assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
    let merged = machine.vmx.msr_bitmap02();
    assert_eq!(&merged[..5], [0, 0, 1, 0x80, 0]);
    assert!(merged[5..0x100].iter().all(|&byte| byte == 0));
    assert!(merged[0x120..0x900].iter().all(|&byte| byte == 0));
    assert!(merged[0x920..].iter().all(|&byte| byte == 0));
    // Without a bitmap of L1's, all of them do.
    assert!(
        L2::new()
            .launch()
            .vmx
            .msr_bitmap02()
            .iter()
            .all(|&byte| byte == 0xff)
    );
}

#[test]
fn an_exit_saves_l2_and_loads_l1() {
    let l2 = L2::new()
        .with(Field::HostRip, 0xbeef)
        .with(Field::HostRsp, 0xcafe)
        .with(Field::HostFsBase, 0x1111)
        .with(Field::HostIa32SysenterEip, 0x2222);
    let mut machine = l2.run();
    machine.cpu.state_mut().write(Field::GuestRsp, 0x7777);
    machine.cpu.state_mut().write(Field::GuestCr3, 0x3000);
    machine.cpu.push(L2Instruction::Nop);
    exit(&mut machine);
    let vmcs12 = machine.vmx.vmcs12();
    assert_eq!(seen_by_l1(&machine), (ExitReason::CPUID.0, None, None));
    assert_eq!(vmcs12.vm_exit_instruction_len(), 2);
    assert_eq!(vmcs12.guest_rip(), 0x4001);
    assert_eq!(vmcs12.guest_rsp(), 0x7777);
    assert_eq!(vmcs12.guest_cr3(), 0x3000);

    let l1 = machine.cpu.state();
    assert_eq!(l1.guest_rip(), 0xbeef);
    assert_eq!(l1.guest_rsp(), 0xcafe);
    assert_eq!(l1.guest_rflags(), 2);
    assert_eq!(l1.guest_fs_base(), 0x1111);
    assert_eq!(l1.guest_sysenter_eip(), 0x2222);
    assert_eq!(l1.guest_cs_ar_bytes(), 0xa09b);
    assert_eq!(l1.guest_tr_limit(), 0x67);
    assert_eq!(l1.guest_tr_ar_bytes(), 0x8b);
    assert_eq!(l1.guest_ldtr_ar_bytes(), 0x1_0000);
    assert_eq!(l1.guest_gdtr_limit(), 0xffff);
    assert_eq!(l1.guest_dr7(), 0x400);
    // L0's controls are untouched.
    let fresh = l1_of(&capabilities());
    assert_eq!(
        l1.pin_based_vm_exec_control(),
        fresh.pin_based_vm_exec_control()
    );
}

#[test]
fn a_null_selector_makes_a_segment_unusable() {
    let l2 = L2::new().with(Field::HostEsSelector, 0);
    let mut machine = l2.run();
    exit(&mut machine);
    assert_eq!(machine.cpu.state().guest_es_ar_bytes() >> 16, 1);
    assert_eq!(machine.cpu.state().guest_ds_ar_bytes() >> 16, 0);
}

#[test]
fn what_is_saved_on_demand() {
    let set = |machine: &mut Machine| {
        machine.cpu.state_mut().write(Field::GuestIa32Pat, 0x01);
        machine.cpu.state_mut().write(Field::GuestDr7, 0x401);
    };
    let without = u64::from((L2::new().0.exit() - ExitControls::SAVE_DEBUG_CONTROLS).bits());
    let l2 = L2::new().with(Field::VmExitControls, without);
    let mut machine = l2.run();
    set(&mut machine);
    exit(&mut machine);
    assert_eq!(machine.vmx.vmcs12().guest_ia32_pat(), l2.0.guest_ia32_pat());
    assert_eq!(machine.vmx.vmcs12().guest_dr7(), l2.0.guest_dr7());

    let mut machine = l2
        .exit(ExitControls::SAVE_PAT | ExitControls::SAVE_DEBUG_CONTROLS)
        .run();
    set(&mut machine);
    exit(&mut machine);
    assert_eq!(machine.vmx.vmcs12().guest_ia32_pat(), 1);
    assert_eq!(machine.vmx.vmcs12().guest_dr7(), 0x401);
}

#[test]
fn the_timer_is_saved_on_demand() {
    let rate = capabilities().misc.preemption_timer_rate();
    for (controls, expected) in [
        (ExitControls::SAVE_PREEMPTION_TIMER, 60),
        (ExitControls::empty(), 100),
    ] {
        let mut machine = L2::new()
            .pin(PinControls::PREEMPTION_TIMER)
            .exit(controls)
            .with(Field::VmxPreemptionTimerValue, 100)
            .run();
        machine.clock.0.set(40 << rate);
        exit(&mut machine);
        assert_eq!(machine.vmx.vmcs12().vmx_preemption_timer_value(), expected);
    }
}

/// An area with these MSRs.
fn area(machine: &Machine, entries: &[(u32, u64)]) {
    for (at, (index, value)) in (0..).zip(entries) {
        let address = MSR_AREA + 16 * at;
        machine
            .memory
            .write(address, &u64::from(*index).to_le_bytes())
            .expect("memory");
        machine
            .memory
            .write(address + 8, &value.to_le_bytes())
            .expect("memory");
    }
}

fn with_area(count: Field, address: Field, entries: &[(u32, u64)]) -> Machine {
    let l2 = L2::new()
        .with(address, MSR_AREA)
        .with(count, entries.len() as u64);
    let machine = Machine::with_vmcs(&capabilities(), &l2.0).expect("a VMCS");
    area(&machine, entries);
    machine
}

#[test]
fn msr_areas_are_loaded_and_stored() {
    let entries = [(LSTAR, 0x1234), (0x277, 0x0606)];
    let mut machine = with_area(
        Field::VmEntryMsrLoadCount,
        Field::VmEntryMsrLoadAddr,
        &entries,
    );
    assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
    assert_eq!(machine.msrs.read(LSTAR), Ok(0x1234));

    let mut machine = with_area(
        Field::VmExitMsrStoreCount,
        Field::VmExitMsrStoreAddr,
        &[(LSTAR, 0)],
    );
    assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
    machine.step();
    machine.msrs.write(LSTAR, 0x5678).expect("a value");
    exit(&mut machine);
    assert_eq!(machine.memory.read_u64(MSR_AREA + 8), Ok(0x5678));

    let mut machine = with_area(
        Field::VmExitMsrLoadCount,
        Field::VmExitMsrLoadAddr,
        &[(LSTAR, 0x9abc)],
    );
    assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
    assert_eq!(machine.msrs.read(LSTAR), Ok(0), "not yet");
    exit(&mut machine);
    assert_eq!(machine.msrs.read(LSTAR), Ok(0x9abc));
}

#[test]
fn entries_before_a_bad_one_are_loaded() {
    let entries = [(LSTAR, 0x1234), (LSTAR, 1 << 63), (0x277, 0)];
    let mut machine = with_area(
        Field::VmEntryMsrLoadCount,
        Field::VmEntryMsrLoadAddr,
        &entries,
    );
    let reason = ExitReason::ENTRY_FAILURE_MSR_LOADING.entry_failure();
    assert_eq!(
        machine.execute(Instruction::Vmlaunch),
        Outcome::EntryFailed(reason)
    );
    assert_eq!(machine.vmx.vmcs12().exit_qualification(), 2);
    assert_eq!(machine.msrs.read(LSTAR), Ok(0x1234));
    assert_eq!(
        machine.cpu.state().guest_rip(),
        0x9000,
        "L1 is at its host RIP"
    );
}

#[test]
fn a_bad_exit_area_is_a_vmx_abort() {
    for (count, address, abort) in [
        (
            Field::VmExitMsrStoreCount,
            Field::VmExitMsrStoreAddr,
            Abort::SavingMsrs,
        ),
        (
            Field::VmExitMsrLoadCount,
            Field::VmExitMsrLoadAddr,
            Abort::LoadingMsrs,
        ),
    ] {
        let mut machine = with_area(count, address, &[(0x801, 0)]);
        assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
        machine.step();
        machine
            .cpu
            .push(L2Instruction::Exit(ExitInformation::new(ExitReason::CPUID)));
        assert_eq!(machine.step().after, Some(AfterExit::Abort(abort)));
        assert!(!machine.vmx.operation().is_non_root());
        assert_eq!(
            machine.memory.read_u32(Machine::VMCS + 4),
            Ok(abort.indicator())
        );
    }
}

#[test]
fn a_failed_entry_saves_nothing_of_l2() {
    let l2 = L2::new()
        .with(Field::GuestRflags, 0)
        .with(Field::HostRip, 0xbeef);
    let mut machine = Machine::with_vmcs(&capabilities(), &l2.0).expect("a VMCS");
    let reason = ExitReason::ENTRY_FAILURE_GUEST_STATE.entry_failure();
    assert_eq!(
        machine.execute(Instruction::Vmlaunch),
        Outcome::EntryFailed(reason)
    );
    let mut expected = l2.0.clone();
    expected.write(Field::VmExitReason, reason.0.into());
    assert_eq!(*machine.vmx.vmcs12(), expected);
    assert_eq!(machine.cpu.state().guest_rip(), 0xbeef);
}

#[test]
fn software_events_are_reported_with_their_length() {
    let int3 = Event {
        instruction_length: 1,
        ..Event::new(EventType::SoftwareException, 3)
    };
    let mut machine = L2::new().inject(int3).launch();
    let task_switch = ExitInformation::new(ExitReason::TASK_SWITCH);
    machine.cpu.push(L2Instruction::FailDelivery(task_switch));
    machine.step();
    assert_eq!(seen_by_l1(&machine).2, Some(int3));
    assert_eq!(machine.vmx.vmcs12().vm_exit_instruction_len(), 1);
}

#[test]
fn an_nmi_exit_blocks_nmis_in_l1() {
    let mut machine = L2::new().intercepting_all().run();
    machine.vmx.pending_mut().nmi = true;
    assert_eq!(machine.step().decision, Decision::L1);
    assert_eq!(machine.cpu.state().guest_interruptibility_info(), 8);
    let mut machine = L2::new().intercepting_all().run();
    machine.interrupts.raise(0x40);
    assert_eq!(machine.step().decision, Decision::L1);
    assert_eq!(machine.cpu.state().guest_interruptibility_info(), 0);
}

#[test]
fn an_nmi_waits_behind_an_nmi_unless_nmis_are_virtual() {
    let run = |controls| {
        let mut machine = L2::new().pin(controls).inject(Event::NMI).run();
        machine.vmx.pending_mut().nmi = true;
        machine
    };
    let mut machine = run(PinControls::NMI_EXITING);
    assert!(!entered(&machine.step()).immediate_exit);
    machine.cpu.push(L2Instruction::Iret);
    machine.step();
    assert_eq!(machine.step().decision, Decision::L1);
    let mut machine = run(PinControls::NMI_EXITING | PinControls::VIRTUAL_NMIS);
    assert_eq!(machine.step().decision, Decision::L1);
}

#[test]
fn a_debug_trap_that_another_exit_overtakes_stays_pending() {
    let mut machine = L2::new().intercepting_all().run();
    let trap = PendingException::debug_trap(1 << 14 | 1);
    machine.vmx.raise_exception(trap).expect("L2 is active");
    machine.vmx.pending_mut().init = true;
    assert_eq!(machine.step().decision, Decision::L1);
    assert_eq!(seen_by_l1(&machine).0, ExitReason::INIT.0);
    let pending = machine.vmx.vmcs12().guest_pending_dbg_exceptions();
    assert_eq!(pending, 1 << 14 | 1 << 12 | 1);
}

#[test]
fn the_activity_state_is_saved_as_it_was() {
    let mut machine = L2::new()
        .intercepting_all()
        .with(Field::GuestActivityState, 1)
        .launch();
    assert!(matches!(
        machine.step().decision,
        Decision::Wait { activity: 1, .. }
    ));
    machine.interrupts.raise(0x40);
    assert_eq!(machine.step().decision, Decision::L1);
    assert_eq!(machine.vmx.vmcs12().guest_activity_state(), 1);
    // L2 halts by itself, and L1 does not intercept HLT.
    let mut machine = L2::new().intercepting_all().run();
    machine.cpu.push(L2Instruction::Hlt);
    machine.step();
    assert!(matches!(
        machine.step().decision,
        Decision::Wait { activity: 1, .. }
    ));
    machine.interrupts.raise(0x40);
    assert_eq!(machine.step().decision, Decision::L1);
    assert_eq!(machine.vmx.vmcs12().guest_activity_state(), 1);
    assert_eq!(machine.vmx.vmcs12().guest_rip(), 0x4001);
}

#[test]
fn an_acknowledged_interrupt_is_in_the_exit_and_another_stays() {
    let mut machine = L2::new().pin(PinControls::EXTERNAL_INTERRUPT_EXITING).run();
    machine.interrupts.raise(0x40);
    assert_eq!(machine.step().decision, Decision::L1);
    assert_eq!(seen_by_l1(&machine), (1, None, None));
    assert_eq!(machine.interrupts.waiting(), 1, "not acknowledged");
    let mut machine = L2::new().intercepting_all().run();
    machine.interrupts.raise(0x40);
    machine.interrupts.raise(0x50);
    assert_eq!(machine.step().decision, Decision::L1);
    let interrupt = Some(Event::external_interrupt(0x50));
    assert_eq!(seen_by_l1(&machine), (1, interrupt, None));
    assert_eq!(machine.interrupts.waiting(), 1);
}

#[test]
fn without_vpids_translations_are_flushed_on_both_ways() {
    let mut machine = L2::new().launch();
    assert_eq!(machine.vmx.take_flush().linear, Some(LinearFlush::All));
    machine.step();
    exit(&mut machine);
    assert_eq!(machine.vmx.take_flush().linear, Some(LinearFlush::All));

    let mut machine = L2::new()
        .secondary(SecondaryControls::ENABLE_VPID)
        .with(Field::VirtualProcessorId, 7)
        .run();
    machine.vmx.take_flush();
    exit(&mut machine);
    assert_eq!(machine.execute(Instruction::Vmresume), Outcome::Entered);
    assert_eq!(machine.vmx.take_flush().linear, None, "the same VPID");
}

#[test]
fn smm_is_not_shown_to_l1() {
    let mut machine = L2::new().run();
    machine.with_border(|vmx, border| vmx.enter_smm(border));
    let vmxon = nested_vmx::model::Value::of(Machine::VMXON);
    let outcome = machine.execute(Instruction::Vmxon(&vmxon));
    assert!(
        matches!(outcome, Outcome::Exception(_)),
        "CR4.VMXE is 0 in SMM"
    );
}

#[test]
fn an_event_that_wakes_l2_is_delivered_to_an_active_l2() {
    let mut machine = L2::new().run();
    machine.cpu.push(L2Instruction::Hlt);
    machine.step();
    assert_eq!(machine.vmx.activity(), 1);
    machine
        .vmx
        .raise_exception(PendingException::fault(6, None))
        .expect("L2 is active");
    // Its delivery does not end: L2 is not halted any more, and gets it with the next entry.
    let violation = ExitInformation::new(ExitReason::EPT_VIOLATION);
    machine.cpu.push(L2Instruction::FailDelivery(violation));
    let injection = Some(Event::exception(6, None));
    assert_eq!(entered(&machine.step()).injection, injection);
    assert_eq!(machine.vmx.activity(), 0);
    assert_eq!(entered(&machine.step()).injection, injection);
}

#[test]
fn msr_areas_reach_what_the_guest_state_holds() {
    const EFER: u32 = 0xc000_0080;
    const PAT: u32 = 0x277;
    // VM entry: after the guest state, so the list has the last word.
    let mut machine = with_area(
        Field::VmEntryMsrLoadCount,
        Field::VmEntryMsrLoadAddr,
        &[(EFER, 0x501), (PAT, 0x0606)],
    );
    assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
    assert_eq!(machine.cpu.state().guest_ia32_efer(), 0x501);
    assert_eq!(machine.cpu.state().guest_ia32_pat(), 0x0606);
    // VM exit, store: what L2 has then.
    let mut machine = with_area(
        Field::VmExitMsrStoreCount,
        Field::VmExitMsrStoreAddr,
        &[(PAT, 0)],
    );
    assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
    machine.step();
    machine.cpu.state_mut().write(Field::GuestIa32Pat, 0x0505);
    exit(&mut machine);
    assert_eq!(machine.memory.read_u64(MSR_AREA + 8), Ok(0x0505));
    // VM exit, load: after the host state. LMA is not WRMSR's to change.
    let mut machine = with_area(
        Field::VmExitMsrLoadCount,
        Field::VmExitMsrLoadAddr,
        &[(PAT, 0x0404), (EFER, 0x900)],
    );
    assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
    exit(&mut machine);
    assert_eq!(machine.cpu.state().guest_ia32_pat(), 0x0404);
    assert_eq!(machine.cpu.state().guest_ia32_efer(), 0xd00);
}

#[test]
fn what_no_exit_control_loads_is_as_l2_left_it() {
    let left = |machine: &mut Machine| {
        machine.cpu.state_mut().write(Field::GuestIa32Pat, 0x0101);
        exit(machine);
        machine.cpu.state().guest_ia32_pat()
    };
    assert_eq!(left(&mut L2::new().run()), 0x0101);
    let loading = L2::new()
        .exit(ExitControls::LOAD_PAT)
        .with(Field::HostIa32Pat, 0x0404);
    assert_eq!(left(&mut loading.run()), 0x0404);
    // Without loading IA32_EFER, only the mode is L1's.
    let exit_controls = L2::new().0.exit() - ExitControls::LOAD_EFER;
    let l2 = L2::new().with(Field::VmExitControls, exit_controls.bits().into());
    let mut machine = l2.run();
    machine.cpu.state_mut().write(Field::GuestIa32Efer, 0x501);
    exit(&mut machine);
    assert_eq!(machine.cpu.state().guest_ia32_efer(), 0x501);
}

#[test]
fn what_l0_turns_on_for_l1_is_not_on_in_l2() {
    let mut machine = Machine::with_vmcs(&capabilities(), &L2::new().0).expect("a VMCS");
    let vmcs01 = machine.vmx.vmcs01_mut();
    let primary = vmcs01.primary()
        | PrimaryControls::ACTIVATE_SECONDARY_CONTROLS
        | PrimaryControls::ACTIVATE_TERTIARY_CONTROLS
        | PrimaryControls::USE_TPR_SHADOW;
    let secondary = SecondaryControls::ENABLE_EPT
        | SecondaryControls::ENABLE_PML
        | SecondaryControls::VIRTUALIZE_X2APIC_MODE;
    vmcs01.write(Field::CpuBasedVmExecControl, primary.bits().into());
    vmcs01.write(Field::SecondaryVmExecControl, secondary.bits().into());
    vmcs01.write(
        Field::TertiaryVmExecControl,
        TertiaryControls::IPI_VIRTUALIZATION.bits(),
    );
    assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
    let vmcs02 = machine.vmx.vmcs02();
    assert_eq!(vmcs02.secondary(), SecondaryControls::ENABLE_EPT);
    assert_eq!(vmcs02.tertiary(), TertiaryControls::empty());
}

#[test]
fn exiting_bitmaps_are_both_hypervisors() {
    // L1's field counts only with L1's control.
    let l2 = L2::new().with(Field::EnclsExitingBitmap, 0);
    let mut machine = Machine::with_vmcs(&capabilities(), &l2.0).expect("a VMCS");
    let vmcs01 = machine.vmx.vmcs01_mut();
    let primary = vmcs01.primary()
        | PrimaryControls::ACTIVATE_SECONDARY_CONTROLS
        | PrimaryControls::ACTIVATE_TERTIARY_CONTROLS;
    vmcs01.write(Field::CpuBasedVmExecControl, primary.bits().into());
    for (field, value) in [
        (
            Field::SecondaryVmExecControl,
            SecondaryControls::ENCLS_EXITING.bits().into(),
        ),
        (Field::EnclsExitingBitmap, u64::MAX),
        (
            Field::TertiaryVmExecControl,
            TertiaryControls::VIRTUALIZE_SPEC_CTRL.bits(),
        ),
        (Field::Ia32SpecCtrlMask, 0b101),
        (Field::Ia32SpecCtrlShadow, 0b100),
    ] {
        vmcs01.write(field, value);
    }
    assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
    let vmcs02 = machine.vmx.vmcs02();
    assert!(
        vmcs02
            .secondary()
            .contains(SecondaryControls::ENCLS_EXITING)
    );
    assert_eq!(vmcs02.encls_exiting_bitmap(), u64::MAX);
    assert_eq!(vmcs02.ia32_spec_ctrl_mask(), 0b101);
    assert_eq!(vmcs02.ia32_spec_ctrl_shadow(), 0b100);
}

#[test]
fn smm_changes_neither_l1_nor_what_it_interrupted() {
    const L1S: u64 = 0x0606_0606_0606_0606;
    let mut machine = Machine::with_vmcs(&capabilities(), &L2::new().0).expect("a VMCS");
    machine.cpu.state_mut().write(Field::GuestIa32Pat, L1S);
    assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
    machine.step();
    let l1s_controls = machine.vmx.vmcs01().primary();
    machine.with_border(|vmx, border| vmx.enter_smm(border));
    assert_eq!(machine.cpu.state().primary(), l1s_controls);
    // SMM has registers of its own.
    machine.cpu.state_mut().write(Field::GuestIa32Pat, 0);
    machine.cpu.state_mut().write(Field::GuestIa32Efer, 0);
    let outcome = machine.execute(Instruction::Vmcall);
    assert!(matches!(outcome, Outcome::Exception(_)));
    let snapshot = machine.with_border(|vmx, border| vmx.save(border));
    assert_eq!(snapshot.l1.guest_ia32_pat(), L1S);
    machine.with_border(|vmx, border| vmx.leave_smm(border));
    machine.step();
    exit(&mut machine);
    assert_eq!(machine.cpu.state().guest_ia32_pat(), L1S);
}

#[test]
fn l2s_vmcs_survives_smm() {
    const SHADOW: u64 = 0x22000;
    let l2 = L2::new()
        .secondary(SecondaryControls::VMCS_SHADOWING)
        .with(Field::VmreadBitmap, 0x20000)
        .with(Field::VmwriteBitmap, 0x21000)
        .with(Field::VmcsLinkPointer, SHADOW);
    let mut machine = Machine::with_vmcs(&capabilities(), &l2.0).expect("a VMCS");
    let revision = capabilities().basic.revision() | 1 << 31;
    machine
        .memory
        .write(SHADOW, &revision.to_le_bytes())
        .expect("memory");
    assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
    machine.step();
    let field = u64::from(Field::GuestRip.encoding().0);
    let written = machine.execute(Instruction::Vmwrite {
        field,
        from: Source::Register(0x1234),
    });
    assert_eq!(written, Outcome::Succeed);
    machine.with_border(|vmx, border| vmx.enter_smm(border));
    machine.with_border(|vmx, border| vmx.leave_smm(border));
    let read = machine.execute(Instruction::Vmread {
        field,
        to: Destination::Register,
    });
    assert_eq!(read, Outcome::Read(0x1234));
}

#[test]
fn after_a_reset_an_immediate_exit_is_asked_for_again() {
    let l2 = L2::new().intercepting_all();
    let mut machine = l2.launch();
    machine.interrupts.raise(0x40);
    let _ = machine.with_border(NestedVmx::before_entry);
    assert_eq!(machine.requests.0.get(), 1);
    machine.with_border(|vmx, border| vmx.reset(border));
    for instruction in [
        Instruction::Vmxon(&Value::of(Machine::VMXON)),
        Instruction::Vmptrld(&Value::of(Machine::VMCS)),
    ] {
        assert_eq!(machine.execute(instruction), Outcome::Succeed);
    }
    assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
    assert!(entered(&machine.step()).immediate_exit);
    assert_eq!(machine.requests.0.get(), 2);
}

#[test]
fn a_launch_that_the_hardware_fails_leaves_the_vmcs_clear() {
    let mut machine = L2::new().launch();
    machine.cpu.push(L2Instruction::FailEntry(
        ExitReason::ENTRY_FAILURE_GUEST_STATE,
        0,
    ));
    assert_eq!(machine.step().after, Some(AfterExit::L1));
    assert_eq!(machine.vmx.vmcs12().launch_state(), LaunchState::Clear);
    assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
}

#[test]
fn the_processors_x2apic_is_out_of_l2s_reach() {
    const BITMAP: u64 = 0x30000;
    const VIRTUAL_APIC: u64 = 0x31000;
    let passes = |l2: L2| -> Vec<(u32, bool)> {
        let l2 = l2
            .primary(PrimaryControls::USE_MSR_BITMAPS)
            .with(Field::MsrBitmap, BITMAP);
        let mut machine = Machine::with_vmcs(&capabilities(), &l2.0).expect("a VMCS");
        // L0's own controls virtualize the APIC for L1, so L1's accesses do not exit.
        *machine.vmx.msr_bitmap01_mut() = [0; 4096];
        assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
        let bitmap = machine.vmx.msr_bitmap02();
        assert_eq!(bitmap[0xff], 0, "other MSRs are as both want it");
        assert_eq!(bitmap[0x120], 0);
        (0x800..=0x8ff_u32)
            .flat_map(|msr| [(msr, false), (msr, true)])
            .filter(|&(msr, write)| {
                let byte = bitmap[msr as usize / 8 + usize::from(write) * 2048];
                byte >> (msr & 7) & 1 == 0
            })
            .collect()
    };
    assert_eq!(passes(L2::new()), []);
    let x2apic = || {
        L2::new()
            .primary(PrimaryControls::USE_TPR_SHADOW)
            .secondary(SecondaryControls::VIRTUALIZE_X2APIC_MODE)
            .with(Field::VirtualApicPageAddr, VIRTUAL_APIC)
    };
    assert_eq!(passes(x2apic()), [(0x808, false), (0x808, true)]);
    let registers = passes(x2apic().secondary(SecondaryControls::APIC_REGISTER_VIRTUALIZATION));
    assert_eq!(registers.len(), 0x100 + 1);
    let interrupts = passes(
        x2apic()
            .secondary(SecondaryControls::VIRTUAL_INTERRUPT_DELIVERY)
            .pin(PinControls::EXTERNAL_INTERRUPT_EXITING),
    );
    assert_eq!(
        interrupts,
        [(0x808, false), (0x808, true), (0x80b, true), (0x83f, true)]
    );
}

#[test]
fn exits_leave_blocking_by_nmi_as_it_is() {
    const NMI: u32 = 1 << 3;
    let blocking = |machine: &Machine| machine.cpu.state().guest_interruptibility_info();
    // L1 runs L2 in its NMI handler: L2 is in one, too, until it executes IRET.
    let l2 = || L2::new().with(Field::GuestInterruptibilityInfo, NMI.into());
    let mut machine = l2().run();
    exit(&mut machine);
    assert_eq!(blocking(&machine), NMI);
    let mut machine = l2().run();
    machine.cpu.push(L2Instruction::Iret);
    exit(&mut machine);
    assert_eq!(blocking(&machine), 0);
    // What blocks virtual NMIs says nothing about those of L1.
    let mut machine = l2()
        .pin(PinControls::NMI_EXITING | PinControls::VIRTUAL_NMIS)
        .run();
    exit(&mut machine);
    assert_eq!(blocking(&machine), 0);
    // An entry that fails changes nothing.
    let l2 = L2::new().with(Field::GuestRflags, 0);
    let mut machine = Machine::with_vmcs(&capabilities(), &l2.0).expect("a VMCS");
    machine
        .cpu
        .state_mut()
        .write(Field::GuestInterruptibilityInfo, NMI.into());
    let outcome = machine.execute(Instruction::Vmlaunch);
    assert!(matches!(outcome, Outcome::EntryFailed(_)));
    assert_eq!(blocking(&machine), NMI);
}

#[test]
fn an_l2_in_ia32e_mode_cannot_exit_to_an_l1_of_32_bits() {
    for (efer, after) in [
        (0, AfterExit::L1),
        (0x500, AfterExit::Abort(Abort::HostAddressSpace)),
    ] {
        let l2 = L2::new();
        let entry = l2.0.entry() - EntryControls::IA32E_MODE_GUEST;
        let exits = l2.0.exit() - ExitControls::HOST_ADDRESS_SPACE_SIZE;
        let l2 = l2
            .with(Field::VmEntryControls, entry.bits().into())
            .with(Field::VmExitControls, exits.bits().into())
            .with(Field::GuestIa32Efer, 0)
            .with(Field::HostIa32Efer, 0);
        let mut machine = Machine::with_vmcs(&capabilities(), &l2.0).expect("a VMCS");
        machine.cpu.state_mut().write(Field::GuestIa32Efer, 0);
        assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
        machine.step();
        // L2 turns it on by itself.
        machine.cpu.state_mut().write(Field::GuestIa32Efer, efer);
        machine
            .cpu
            .push(L2Instruction::Exit(ExitInformation::new(ExitReason::CPUID)));
        assert_eq!(machine.step().after, Some(after));
    }
}
