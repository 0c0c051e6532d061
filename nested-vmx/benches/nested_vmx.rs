// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a VM entry and a VM exit of L2's cost L0, beside copying a VMCS region once.
#![allow(
    missing_docs,
    reason = "criterion's macros make functions without them"
)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that cannot begin ends"
)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use nested_vmx::capability::{Capabilities, Processor};
use nested_vmx::check::{EntryRequest, L1State};
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::l0::{AfterExit, ExitInformation, HardwareExit, Instruction, Outcome};
use nested_vmx::model::{Machine, ModelMemory, vmcs12_of};
use nested_vmx::vmcs::{Field, Vmcs};

fn capabilities() -> Capabilities {
    Capabilities::software(Processor::new(40))
}

/// The floor: 4 KiB from one place to another.
fn copy(criterion: &mut Criterion) {
    let from = vmcs12_of(&capabilities());
    let mut to = Vmcs::new(0);
    criterion.bench_function("copy_4k", |bencher| {
        bencher.iter(|| {
            black_box(&mut to).clone_from(black_box(&from));
        });
    });
}

/// All rules, and not only up to the first that is broken.
fn checks(criterion: &mut Criterion) {
    let capabilities = capabilities();
    let vmcs12 = vmcs12_of(&capabilities);
    let memory = ModelMemory::new(0x10000);
    let l1 = L1State::new(0x8000_0031, 0x2020, 0x500);
    let request = EntryRequest::new(&capabilities, &vmcs12, l1).with_memory(&memory);
    assert!(request.check_all().is_empty());
    criterion.bench_function("entry_check", |bencher| {
        bencher.iter(|| black_box(&request).check_all().rules());
    });
}

fn machine() -> Machine {
    let capabilities = capabilities();
    Machine::with_vmcs(&capabilities, &vmcs12_of(&capabilities)).expect("a good VMCS")
}

/// L2 executes CPUID.
const CPUID: HardwareExit = HardwareExit::Exit {
    information: ExitInformation::new(ExitReason::CPUID),
    vectoring: None,
};

fn launch(machine: &mut Machine) {
    assert_eq!(machine.execute(Instruction::Vmlaunch), Outcome::Entered);
}

/// VMLAUNCH with its checks until vmcs02 is with the hardware, which is the model: it copies it once
/// more. And an exit from there until L1's state is with the hardware.
fn entries_and_exits(criterion: &mut Criterion) {
    criterion.bench_function("vmlaunch_to_vmcs02", |bencher| {
        bencher.iter_batched_ref(machine, launch, BatchSize::SmallInput);
    });
    let launched = || {
        let mut machine = machine();
        launch(&mut machine);
        machine
    };
    criterion.bench_function("exit_to_vmcs12", |bencher| {
        bencher.iter_batched_ref(
            launched,
            |machine| {
                let after = machine.with_border(|vmx, border| vmx.after_exit(CPUID, border));
                assert_eq!(after, AfterExit::L1);
            },
            BatchSize::SmallInput,
        );
    });
}

fn field_access(criterion: &mut Criterion) {
    let capabilities = capabilities();
    let vmcs12 = vmcs12_of(&capabilities);
    let field = u64::from(Field::GuestRip.encoding().0);
    criterion.bench_function("vmread", |bencher| {
        bencher.iter(|| black_box(&vmcs12).vmread(black_box(field), black_box(&capabilities)));
    });
}

criterion_group!(benches, copy, checks, entries_and_exits, field_access);
criterion_main!(benches);
