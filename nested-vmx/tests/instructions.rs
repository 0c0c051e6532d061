// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Every outcome of `facts/vmx_instructions.tsv`: one situation for each row.
#![allow(clippy::expect_used, clippy::panic, reason = "a test may")]

mod facts;
mod support;

use std::collections::BTreeMap;

use nested_vmx::capability::{Capabilities, EptVpid};
use nested_vmx::controls::{PrimaryControls, SecondaryControls};
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::instruction_error::InstructionError;
use nested_vmx::l0::{Destination, Exception, Instruction, Operation, Outcome, Source};
use nested_vmx::memory::L1Memory;
use nested_vmx::model::{Machine, Value, vmcs12_of};
use nested_vmx::vmcs::{Field, KVM_REVISION, LaunchState, Vmcs};
use support::{L2, capabilities};

const UD: Outcome = Outcome::Exception(Exception::INVALID_OPCODE);
const GP: Outcome = Outcome::Exception(Exception::GENERAL_PROTECTION);
const OTHER_VMCS: u64 = 0x12000;
const BEYOND: u64 = 1 << 40;

fn failed(number: u32) -> Outcome {
    Outcome::FailValid(InstructionError::from_number(number).expect("a number of the SDM's"))
}

/// Outside VMX operation.
fn off() -> Machine {
    let machine = Machine::new(&capabilities());
    write(&machine, Machine::VMXON, &KVM_REVISION.to_le_bytes());
    machine
}

/// In VMX operation, with a current VMCS that could be launched.
fn root() -> Machine {
    let capabilities = capabilities();
    let machine = Machine::with_vmcs(&capabilities, &vmcs12_of(&capabilities)).expect("a VMCS");
    write(&machine, OTHER_VMCS, vmcs12_of(&capabilities).as_bytes());
    machine
}

/// In VMX operation, without a current VMCS.
fn no_current() -> Machine {
    let mut machine = root();
    let clear = machine.execute(Instruction::Vmclear(&Value::of(Machine::VMCS)));
    assert_eq!(clear, Outcome::Succeed);
    machine
}

/// L2 runs.
fn l2() -> Machine {
    L2::new().run()
}

/// L2 runs and has a VMCS of its own, with bitmaps that let all accesses through.
fn shadowing() -> L2 {
    L2::new()
        .secondary(SecondaryControls::VMCS_SHADOWING)
        .with(Field::VmreadBitmap, 0x20000)
        .with(Field::VmwriteBitmap, 0x21000)
        .with(Field::VmcsLinkPointer, 0x22000)
}

fn run_shadowing(l2: &L2) -> Machine {
    let capabilities = capabilities();
    let mut machine = Machine::with_vmcs(&capabilities, &l2.0).expect("a VMCS");
    let mut shadow = Vmcs::new(KVM_REVISION);
    shadow.set_header(KVM_REVISION, true);
    shadow.write(Field::GuestRip, 0x1234_5678_9abc);
    write(&machine, 0x22000, shadow.as_bytes());
    assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
    machine.step();
    machine
}

fn write(machine: &Machine, address: u64, bytes: &[u8]) {
    machine.memory.write(address, bytes).expect("memory");
}

/// The guest that runs is at privilege level 3.
fn user(mut machine: Machine) -> Machine {
    let state = machine.cpu.state_mut();
    let rights = u64::from(state.guest_ss_ar_bytes()) | 3 << 5;
    state.write(Field::GuestSsArBytes, rights);
    machine
}

fn with(mut machine: Machine, field: Field, value: u64) -> Machine {
    machine.cpu.state_mut().write(field, value);
    machine
}

/// Capabilities without these features.
fn without(ept_vpid: EptVpid) -> Machine {
    let mut capabilities = capabilities();
    capabilities.ept_vpid.remove(ept_vpid);
    Machine::with_vmcs(&capabilities, &vmcs12_of(&capabilities)).expect("a VMCS")
}

fn vmread(machine: &mut Machine, field: u64) -> Outcome {
    machine.execute(Instruction::Vmread {
        field,
        to: Destination::Register,
    })
}

fn vmwrite(machine: &mut Machine, field: u64, value: u64) -> Outcome {
    machine.execute(Instruction::Vmwrite {
        field,
        from: Source::Register(value),
    })
}

fn invept(machine: &mut Machine, kind: u64, low: u64, high: u64) -> Outcome {
    machine.execute(Instruction::Invept {
        kind,
        descriptor: &Value::pair(low, high),
    })
}

fn invvpid(machine: &mut Machine, kind: u64, low: u64, high: u64) -> Outcome {
    machine.execute(Instruction::Invvpid {
        kind,
        descriptor: &Value::pair(low, high),
    })
}

fn vmfunc(machine: &mut Machine, function: u32, operand: u32) -> Outcome {
    machine.execute(Instruction::Vmfunc { function, operand })
}

/// L2 may switch EPTPs.
fn switching() -> Machine {
    let l2 = L2::new()
        .secondary(SecondaryControls::ENABLE_EPT | SecondaryControls::ENABLE_VM_FUNCTIONS)
        .with(Field::EptPointer, 0x30000 | 0x1e)
        .with(Field::VmFunctionControl, 1)
        .with(Field::EptpListAddress, 0x31000);
    let machine = l2.run();
    write(&machine, 0x31000 + 8, &(0x32000_u64 | 0x1e).to_le_bytes());
    machine
}

/// Instructions that take a pointer, or nothing.
fn simple(name: &str, machine: &mut Machine, operand: u64) -> Outcome {
    let operand = Value::of(operand);
    machine.execute(match name {
        "VMXON" => Instruction::Vmxon(&operand),
        "VMXOFF" => Instruction::Vmxoff,
        "VMCLEAR" => Instruction::Vmclear(&operand),
        "VMPTRLD" => Instruction::Vmptrld(&operand),
        "VMPTRST" => Instruction::Vmptrst(&operand),
        "VMLAUNCH" => Instruction::Vmlaunch,
        "VMRESUME" => Instruction::Vmresume,
        "VMCALL" => Instruction::Vmcall,
        other => panic!("{other}"),
    })
}

type Case = fn(&str) -> Outcome;

/// The situation of each row, by instruction and order.
fn cases() -> BTreeMap<(&'static str, u32), (Case, Outcome)> {
    let mut cases: BTreeMap<(&'static str, u32), (Case, Outcome)> = BTreeMap::new();
    let mut add = |name, order, case: Case, expected| {
        cases.insert((name, order), (case, expected));
    };
    let ok = Outcome::Succeed;

    add(
        "VMXON",
        1,
        |name| {
            let real = with(off(), Field::GuestCr0, 0x10);
            let no_vmxe = with(off(), Field::GuestCr4, 0x20);
            let virtual_8086 = with(off(), Field::GuestRflags, 0x2_0002);
            let compatibility = with(off(), Field::GuestCsArBytes, 0xc09b);
            let all = [real, no_vmxe, virtual_8086, compatibility];
            same(all.map(|mut machine| simple(name, &mut machine, Machine::VMXON)))
        },
        UD,
    );
    add(
        "VMXON",
        2,
        |name| simple(name, &mut l2(), Machine::VMXON),
        Outcome::Exit(ExitReason::VMXON),
    );
    add(
        "VMXON",
        3,
        |name| simple(name, &mut user(off()), Machine::VMXON),
        GP,
    );
    add(
        "VMXON",
        4,
        |name| {
            assert_eq!(
                simple(name, &mut no_current(), Machine::VMXON),
                Outcome::FailInvalid
            );
            simple(name, &mut root(), Machine::VMXON)
        },
        failed(15),
    );
    add(
        "VMXON",
        5,
        |name| {
            let no_ne = with(off(), Field::GuestCr0, 0x8001_0011);
            let mut unlocked = capabilities();
            unlocked
                .feature_control
                .remove(nested_vmx::capability::FeatureControl::LOCK);
            same(
                [no_ne, Machine::new(&unlocked)]
                    .map(|mut machine| simple(name, &mut machine, Machine::VMXON)),
            )
        },
        GP,
    );
    add(
        "VMXON",
        6,
        |name| same([0x10001, BEYOND].map(|at| simple(name, &mut off(), at))),
        Outcome::FailInvalid,
    );
    add(
        "VMXON",
        7,
        |name| {
            same([0, KVM_REVISION | 1 << 31, 1].map(|revision| {
                let mut machine = off();
                write(&machine, Machine::VMXON, &revision.to_le_bytes());
                simple(name, &mut machine, Machine::VMXON)
            }))
        },
        Outcome::FailInvalid,
    );
    add(
        "VMXON",
        8,
        |name| {
            let mut machine = off();
            let outcome = simple(name, &mut machine, Machine::VMXON);
            assert_eq!(machine.vmx.operation().current(), None);
            assert!(machine.vmx.is_init_blocked());
            outcome
        },
        ok,
    );

    add("VMXOFF", 1, |name| simple(name, &mut off(), 0), UD);
    add(
        "VMXOFF",
        2,
        |name| simple(name, &mut l2(), 0),
        Outcome::Exit(ExitReason::VMXOFF),
    );
    add("VMXOFF", 3, |name| simple(name, &mut user(root()), 0), GP);
    add(
        "VMXOFF",
        5,
        |name| {
            let mut machine = root();
            assert_eq!(vmwrite(&mut machine, 0x681e, 0x77), Outcome::Succeed);
            let outcome = simple(name, &mut machine, 0);
            assert_eq!(machine.vmx.operation(), Operation::Off);
            assert!(!machine.vmx.is_init_blocked());
            outcome
        },
        ok,
    );

    for (name, wrong, vmxon) in [("VMCLEAR", 2, 3), ("VMPTRLD", 9, 10)] {
        let reason = match name {
            "VMCLEAR" => ExitReason::VMCLEAR,
            _ => ExitReason::VMPTRLD,
        };
        add(name, 1, |name| simple(name, &mut off(), OTHER_VMCS), UD);
        add(
            name,
            2,
            |name| simple(name, &mut l2(), OTHER_VMCS),
            Outcome::Exit(reason),
        );
        add(
            name,
            3,
            |name| simple(name, &mut user(root()), OTHER_VMCS),
            GP,
        );
        add(
            name,
            4,
            |name| {
                assert_eq!(simple(name, &mut no_current(), 0x800), Outcome::FailInvalid);
                same([0x12008, BEYOND].map(|at| simple(name, &mut root(), at)))
            },
            failed(wrong),
        );
        add(
            name,
            5,
            |name| simple(name, &mut root(), Machine::VMXON),
            failed(vmxon),
        );
    }
    add(
        "VMCLEAR",
        6,
        |name| {
            let mut machine = root();
            assert_eq!(vmwrite(&mut machine, 0x681e, 0x77), Outcome::Succeed);
            let outcome = simple(name, &mut machine, Machine::VMCS);
            assert_eq!(machine.vmx.operation().current(), None);
            let region = region(&machine, Machine::VMCS);
            assert_eq!(region.guest_rip(), 0x77, "the data is in memory");
            assert_eq!(region.launch_state(), LaunchState::Clear);
            // Another VMCS than the current one.
            let mut launched = vmcs12_of(&capabilities());
            launched.set_launch_state(LaunchState::Launched);
            let mut machine = root();
            write(&machine, OTHER_VMCS, launched.as_bytes());
            assert_eq!(simple(name, &mut machine, OTHER_VMCS), Outcome::Succeed);
            assert_eq!(machine.vmx.operation().current(), Some(Machine::VMCS));
            assert_eq!(
                self::region(&machine, OTHER_VMCS).launch_state(),
                LaunchState::Clear
            );
            outcome
        },
        ok,
    );
    add(
        "VMPTRLD",
        6,
        |name| {
            let mut machine = root();
            write(&machine, OTHER_VMCS, &1_u32.to_le_bytes());
            let revision = simple(name, &mut machine, OTHER_VMCS);
            assert_eq!(machine.vmx.operation().current(), Some(Machine::VMCS));
            let mut plain = capabilities();
            plain.procbased_ctls2 &= !(u64::from(SecondaryControls::VMCS_SHADOWING.bits()) << 32);
            let mut machine = Machine::with_vmcs(&plain, &vmcs12_of(&plain)).expect("a VMCS");
            write(
                &machine,
                OTHER_VMCS,
                &(KVM_REVISION | 1 << 31).to_le_bytes(),
            );
            same([
                revision,
                simple(name, &mut machine, OTHER_VMCS),
                simple(name, &mut root(), 0x50_0000),
            ])
        },
        failed(11),
    );
    add(
        "VMPTRLD",
        7,
        |name| {
            let mut machine = root();
            assert_eq!(vmwrite(&mut machine, 0x681e, 0x77), Outcome::Succeed);
            let outcome = simple(name, &mut machine, OTHER_VMCS);
            assert_eq!(machine.vmx.operation().current(), Some(OTHER_VMCS));
            assert_eq!(region(&machine, Machine::VMCS).guest_rip(), 0x77);
            outcome
        },
        ok,
    );

    add("VMPTRST", 1, |name| simple(name, &mut off(), 0), UD);
    add(
        "VMPTRST",
        2,
        |name| simple(name, &mut l2(), 0),
        Outcome::Exit(ExitReason::VMPTRST),
    );
    add("VMPTRST", 3, |name| simple(name, &mut user(root()), 0), GP);
    add(
        "VMPTRST",
        4,
        |_| {
            let operand = Value::default();
            assert_eq!(
                no_current().execute(Instruction::Vmptrst(&operand)),
                Outcome::Succeed
            );
            assert_eq!(operand.get(), u64::MAX);
            let outcome = root().execute(Instruction::Vmptrst(&operand));
            assert_eq!(operand.get(), Machine::VMCS);
            outcome
        },
        ok,
    );

    field_access(&mut add);

    for name in ["VMLAUNCH", "VMRESUME"] {
        let reason = match name {
            "VMLAUNCH" => ExitReason::VMLAUNCH,
            _ => ExitReason::VMRESUME,
        };
        add(name, 1, |name| simple(name, &mut off(), 0), UD);
        add(
            name,
            2,
            |name| simple(name, &mut l2(), 0),
            Outcome::Exit(reason),
        );
        add(name, 3, |name| simple(name, &mut user(root()), 0), GP);
        add(
            name,
            4,
            |name| simple(name, &mut no_current(), 0),
            Outcome::FailInvalid,
        );
        add(
            name,
            5,
            |name| {
                let mut machine = root();
                let mut shadow = vmcs12_of(&capabilities());
                shadow.set_header(KVM_REVISION, true);
                write(&machine, OTHER_VMCS, shadow.as_bytes());
                assert_eq!(
                    simple("VMPTRLD", &mut machine, OTHER_VMCS),
                    Outcome::Succeed
                );
                simple(name, &mut machine, 0)
            },
            Outcome::FailInvalid,
        );
        add(
            name,
            6,
            |name| {
                simple(
                    name,
                    &mut with(root(), Field::GuestInterruptibilityInfo, 2),
                    0,
                )
            },
            failed(26),
        );
    }
    add(
        "VMLAUNCH",
        7,
        |name| {
            let mut launched = vmcs12_of(&capabilities());
            launched.set_launch_state(LaunchState::Launched);
            let mut machine = Machine::with_vmcs(&capabilities(), &launched).expect("a VMCS");
            simple(name, &mut machine, 0)
        },
        failed(4),
    );
    add(
        "VMRESUME",
        7,
        |name| simple(name, &mut root(), 0),
        failed(5),
    );
    add(
        "VMLAUNCH",
        8,
        |name| launch(name, L2::new().with(Field::PinBasedVmExecControl, 0)),
        failed(7),
    );
    add(
        "VMLAUNCH",
        9,
        |name| launch(name, L2::new().with(Field::HostCsSelector, 0)),
        failed(8),
    );
    add(
        "VMLAUNCH",
        10,
        |name| launch(name, L2::new().with(Field::GuestRflags, 0)),
        Outcome::EntryFailed(ExitReason::ENTRY_FAILURE_GUEST_STATE.entry_failure()),
    );
    add(
        "VMLAUNCH",
        11,
        |name| {
            let l2 = L2::new()
                .with(Field::VmEntryMsrLoadAddr, 0x20000)
                .with(Field::VmEntryMsrLoadCount, 2);
            let mut machine = Machine::with_vmcs(&capabilities(), &l2.0).expect("a VMCS");
            write(&machine, 0x20000, &0xc000_0082_u32.to_le_bytes());
            write(&machine, 0x20010, &0xc000_0100_u32.to_le_bytes());
            let outcome = simple(name, &mut machine, 0);
            assert_eq!(
                machine.vmx.vmcs12().exit_qualification(),
                2,
                "the second entry"
            );
            assert_eq!(machine.vmx.vmcs12().launch_state(), LaunchState::Clear);
            outcome
        },
        Outcome::EntryFailed(ExitReason::ENTRY_FAILURE_MSR_LOADING.entry_failure()),
    );
    add(
        "VMLAUNCH",
        13,
        |name| {
            let mut machine = root();
            let outcome = simple(name, &mut machine, 0);
            assert_eq!(machine.vmx.vmcs12().launch_state(), LaunchState::Launched);
            assert!(machine.vmx.operation().is_run_pending());
            outcome
        },
        Outcome::Entered,
    );
    add(
        "VMRESUME",
        8,
        |name| {
            let mut launched = vmcs12_of(&capabilities());
            launched.set_launch_state(LaunchState::Launched);
            let mut machine = Machine::with_vmcs(&capabilities(), &launched).expect("a VMCS");
            simple(name, &mut machine, 0)
        },
        Outcome::Entered,
    );

    invalidations(&mut add);

    add("VMCALL", 1, |name| simple(name, &mut off(), 0), UD);
    add(
        "VMCALL",
        2,
        |name| simple(name, &mut user(l2()), 0),
        Outcome::Exit(ExitReason::VMCALL),
    );
    add("VMCALL", 3, |name| simple(name, &mut user(root()), 0), GP);
    add("VMCALL", 4, |name| simple(name, &mut root(), 0), failed(1));

    add(
        "VMFUNC",
        1,
        |_| {
            same([
                vmfunc(&mut off(), 0, 0),
                vmfunc(&mut root(), 0, 0),
                vmfunc(&mut l2(), 0, 0),
                vmfunc(&mut switching(), 64, 0),
            ])
        },
        UD,
    );
    let exit = Outcome::Exit(ExitReason::VMFUNC);
    add("VMFUNC", 2, |_| vmfunc(&mut switching(), 1, 0), exit);
    add("VMFUNC", 3, |_| vmfunc(&mut switching(), 0, 512), exit);
    add("VMFUNC", 4, |_| vmfunc(&mut switching(), 0, 0), exit);
    add(
        "VMFUNC",
        5,
        |_| {
            let mut machine = user(switching());
            let outcome = vmfunc(&mut machine, 0, 1);
            assert_eq!(machine.vmx.vmcs12().ept_pointer(), 0x32000 | 0x1e);
            assert_eq!(outcome.rflags(0x8d5), Some(0x8d5), "no flag changes");
            outcome
        },
        Outcome::EptpSwitched,
    );
    cases
}

fn field_access(add: &mut impl FnMut(&'static str, u32, Case, Outcome)) {
    fn access(name: &str, machine: &mut Machine, field: u64) -> Outcome {
        match name {
            "VMREAD" => vmread(machine, field),
            _ => vmwrite(machine, field, 0x55),
        }
    }
    for name in ["VMREAD", "VMWRITE"] {
        let exit = Outcome::Exit(match name {
            "VMREAD" => ExitReason::VMREAD,
            _ => ExitReason::VMWRITE,
        });
        add(name, 1, |name| access(name, &mut off(), 0x681e), UD);
        add(
            name,
            2,
            |name| {
                let mut bit = run_shadowing(&shadowing());
                for bitmap in [0x20000, 0x21000] {
                    write(&bit, bitmap + 0x681e / 8, &[1 << (0x681e % 8)]);
                }
                let nowhere = shadowing()
                    .with(Field::VmreadBitmap, 0x50_0000)
                    .with(Field::VmwriteBitmap, 0x50_0000);
                same([
                    access(name, &mut l2(), 0x681e),
                    access(name, &mut run_shadowing(&shadowing()), 0x8000),
                    access(name, &mut bit, 0x681e),
                    access(name, &mut run_shadowing(&nowhere), 0x681e),
                ])
            },
            exit,
        );
        add(
            name,
            3,
            |name| {
                same([
                    access(name, &mut user(root()), 0x681e),
                    access(name, &mut user(run_shadowing(&shadowing())), 0x681e),
                ])
            },
            GP,
        );
        add(
            name,
            4,
            |name| {
                let unlinked = shadowing().with(Field::VmcsLinkPointer, u64::MAX);
                same([
                    access(name, &mut no_current(), 0x681e),
                    access(name, &mut unlinked.run(), 0x681e),
                ])
            },
            Outcome::FailInvalid,
        );
        // Reserved bits, bits above 31, the high half of a field that has none.
        add(
            name,
            5,
            |name| {
                same(
                    [0x1000, 1 << 32 | 0x681e, 0x681f, 0x6c3e]
                        .map(|field| access(name, &mut root(), field)),
                )
            },
            failed(12),
        );
    }
    add(
        "VMREAD",
        6,
        |_| {
            let mut machine = root();
            assert_eq!(vmread(&mut machine, 0x681e), Outcome::Read(0x4000));
            assert_eq!(
                vmread(&mut run_shadowing(&shadowing()), 0x681e),
                Outcome::Read(0x1234_5678_9abc)
            );
            let memory = Value::default();
            machine.execute(Instruction::Vmread {
                field: 0x681e,
                to: Destination::Memory(&memory),
            })
        },
        Outcome::Succeed,
    );
    add(
        "VMWRITE",
        6,
        |_| {
            let mut capabilities = capabilities();
            capabilities.misc.0 &= !(1 << 29);
            let mut machine =
                Machine::with_vmcs(&capabilities, &vmcs12_of(&capabilities)).expect("a VMCS");
            vmwrite(&mut machine, 0x4402, 1)
        },
        failed(13),
    );
    add(
        "VMWRITE",
        7,
        |_| {
            let mut machine = run_shadowing(&shadowing());
            assert_eq!(vmwrite(&mut machine, 0x681e, 0x99), Outcome::Succeed);
            assert_eq!(vmread(&mut machine, 0x681e), Outcome::Read(0x99));
            assert_eq!(machine.vmx.vmcs12().guest_rip(), 0x4000, "not L1's");
            let mut machine = root();
            assert_eq!(vmwrite(&mut machine, 0x4816, u64::MAX), Outcome::Succeed);
            assert_eq!(vmread(&mut machine, 0x4816), Outcome::Read(0x1_f0ff));
            vmwrite(&mut machine, 0x2001, 0xabcd)
        },
        Outcome::Succeed,
    );
}

fn invalidations(add: &mut impl FnMut(&'static str, u32, Case, Outcome)) {
    const EPTP: u64 = 0x30000 | 0x1e;
    add(
        "INVEPT",
        1,
        |_| invept(&mut without(EptVpid::INVEPT), 2, 0, 0),
        UD,
    );
    add("INVEPT", 2, |_| invept(&mut off(), 2, 0, 0), UD);
    add(
        "INVEPT",
        3,
        |_| invept(&mut l2(), 2, 0, 0),
        Outcome::Exit(ExitReason::INVEPT),
    );
    add("INVEPT", 4, |_| invept(&mut user(root()), 2, 0, 0), GP);
    add(
        "INVEPT",
        5,
        |_| {
            same([
                invept(&mut root(), 0, 0, 0),
                invept(&mut root(), 3, 0, 0),
                invept(&mut root(), 1 << 32 | 2, 0, 0),
                invept(&mut without(EptVpid::INVEPT_ALL), 2, 0, 0),
            ])
        },
        failed(28),
    );
    add(
        "INVEPT",
        6,
        |_| invept(&mut root(), 1, 0x30000, 0),
        failed(28),
    );
    add("INVEPT", 7, |_| invept(&mut root(), 1, EPTP, 1), failed(28));
    add(
        "INVEPT",
        8,
        |_| {
            assert_eq!(invept(&mut root(), 2, 0, 0), Outcome::Succeed);
            let mut machine = root();
            let outcome = invept(&mut machine, 1, EPTP, 0);
            assert_eq!(
                machine.vmx.take_flush().ept,
                Some(nested_vmx::ept::Invalidation::SingleContext(
                    nested_vmx::ept::Eptp(EPTP)
                ))
            );
            outcome
        },
        Outcome::Succeed,
    );

    add(
        "INVVPID",
        1,
        |_| invvpid(&mut without(EptVpid::INVVPID), 2, 0, 0),
        UD,
    );
    add("INVVPID", 2, |_| invvpid(&mut off(), 2, 0, 0), UD);
    add(
        "INVVPID",
        3,
        |_| invvpid(&mut l2(), 2, 0, 0),
        Outcome::Exit(ExitReason::INVVPID),
    );
    add("INVVPID", 4, |_| invvpid(&mut user(root()), 2, 0, 0), GP);
    add(
        "INVVPID",
        5,
        |_| {
            same([
                invvpid(&mut root(), 4, 1, 0),
                invvpid(&mut without(EptVpid::INVVPID_SINGLE), 1, 1, 0),
            ])
        },
        failed(28),
    );
    add(
        "INVVPID",
        6,
        |_| invvpid(&mut root(), 2, 1 << 16, 0),
        failed(28),
    );
    add(
        "INVVPID",
        7,
        |_| invvpid(&mut root(), 0, 1, 1 << 47),
        failed(28),
    );
    add(
        "INVVPID",
        8,
        |_| same([0, 1, 3].map(|kind| invvpid(&mut root(), kind, 0, 0))),
        failed(28),
    );
    add(
        "INVVPID",
        9,
        |_| {
            let mut machine = root();
            let all = [(0, 1), (1, 1), (2, 0), (3, 1)];
            same(all.map(|(kind, vpid)| invvpid(&mut machine, kind, vpid, 0x1000)))
        },
        Outcome::Succeed,
    );
}

/// The one outcome that all of them are.
fn same<const N: usize>(outcomes: [Outcome; N]) -> Outcome {
    for outcome in &outcomes[1..] {
        assert_eq!(*outcome, outcomes[0]);
    }
    outcomes[0]
}

fn launch(name: &str, l2: L2) -> Outcome {
    let mut machine = Machine::with_vmcs(&capabilities(), &l2.0).expect("a VMCS");
    simple(name, &mut machine, 0)
}

fn region(machine: &Machine, address: u64) -> Vmcs {
    let mut region = Vmcs::new(0);
    machine
        .memory
        .read(address, region.as_bytes_mut())
        .expect("memory");
    region
}

/// Rows that cannot be in this core, with the reason.
const ELSEWHERE: [(&str, u32, &str); 2] = [
    ("VMXOFF", 4, "there is no dual-monitor treatment of SMIs"),
    (
        "VMLAUNCH",
        12,
        "a machine check comes from the hardware: see past_bugs.rs for failed hardware entries",
    ),
];

#[test]
fn every_row() {
    let cases = cases();
    let rows = facts::rows("vmx_instructions.tsv");
    assert_eq!(rows.len(), 90);
    for row in &rows {
        let (name, order) = (
            row["instruction"].as_str(),
            row["order"].parse().expect("a number"),
        );
        if ELSEWHERE
            .iter()
            .any(|&(other, number, _)| (other, number) == (name, order))
        {
            continue;
        }
        let (case, expected) = cases
            .get(&(name, order))
            .unwrap_or_else(|| panic!("no case for {name} {order}: {}", row["condition"]));
        assert_eq!(
            case(name),
            *expected,
            "{name} {order}: {}",
            row["condition"]
        );
    }
    assert_eq!(cases.len() + ELSEWHERE.len(), rows.len());
}

#[test]
fn flags() {
    const STATUS: u64 = 0x8d5;
    let flags = |outcome: Outcome| outcome.rflags(STATUS | 0x202);
    assert_eq!(flags(Outcome::Succeed), Some(0x202));
    assert_eq!(flags(Outcome::FailInvalid), Some(0x203));
    assert_eq!(flags(failed(7)), Some(0x242));
    assert_eq!(flags(UD), None);
}

#[test]
fn the_error_is_in_the_current_vmcs() {
    let mut machine = root();
    assert_eq!(simple("VMCLEAR", &mut machine, 1), failed(2));
    assert_eq!(machine.vmx.vmcs12().vm_instruction_error(), 2);
    // What succeeds leaves it.
    assert_eq!(simple("VMPTRST", &mut machine, 0), Outcome::Succeed);
    assert_eq!(machine.vmx.vmcs12().vm_instruction_error(), 2);
}

#[test]
fn a_faulting_operand_changes_nothing() {
    struct Faults;
    const FAULT: Exception = Exception::page_fault(0, 0x1234);
    impl nested_vmx::l0::MemoryOperand for Faults {
        fn read(&self, _: &mut [u8]) -> Result<(), Exception> {
            Err(FAULT)
        }
        fn write(&self, _: &[u8]) -> Result<(), Exception> {
            Err(FAULT)
        }
    }
    let faulted = Outcome::Exception(FAULT);
    assert_eq!(off().execute(Instruction::Vmxon(&Faults)), faulted);
    for instruction in [
        Instruction::Vmclear(&Faults),
        Instruction::Vmptrld(&Faults),
        Instruction::Vmptrst(&Faults),
        Instruction::Invept {
            kind: 1,
            descriptor: &Faults,
        },
        Instruction::Invvpid {
            kind: 1,
            descriptor: &Faults,
        },
        Instruction::Vmread {
            field: 0x681e,
            to: Destination::Memory(&Faults),
        },
        Instruction::Vmwrite {
            field: 0x681e,
            from: Source::Memory(&Faults),
        },
    ] {
        let mut machine = root();
        let before = machine.vmx.operation();
        assert_eq!(machine.execute(instruction), faulted, "{instruction:?}");
        assert_eq!(machine.vmx.operation(), before);
        assert_eq!(machine.vmx.vmcs12().guest_rip(), 0x4000);
    }
}

#[test]
fn a_32_bit_operand_has_four_bytes() {
    // L1 in protected mode without IA-32e mode.
    let mut machine = with(
        with(root(), Field::GuestIa32Efer, 0),
        Field::GuestCsArBytes,
        0xc09b,
    );
    let memory = Value::pair(u64::MAX, 0);
    assert_eq!(
        machine.execute(Instruction::Vmread {
            field: 0x681e,
            to: Destination::Memory(&memory)
        }),
        Outcome::Succeed
    );
    assert_eq!(memory.get(), 0xffff_ffff_0000_4000);
    assert_eq!(vmwrite(&mut machine, 0x681e, u64::MAX), Outcome::Succeed);
    assert_eq!(vmread(&mut machine, 0x681e), Outcome::Read(0xffff_ffff));
}

#[test]
fn capabilities_decide_which_fields_there_are() {
    let capabilities: Capabilities = capabilities();
    let mut machine = root();
    for &field in Field::ALL {
        let outcome = vmread(&mut machine, field.encoding().0.into());
        match field.exists(&capabilities) {
            true => assert!(matches!(outcome, Outcome::Read(_)), "{field}"),
            false => assert_eq!(outcome, failed(12), "{field}"),
        }
    }
    let no_msr_bitmaps = PrimaryControls::USE_MSR_BITMAPS;
    let mut fewer = capabilities;
    fewer.true_procbased_ctls &= !(u64::from(no_msr_bitmaps.bits()) << 32);
    assert!(!Field::MsrBitmap.exists(&fewer));
}
