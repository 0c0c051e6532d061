// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is done on each VM entry and exit allocates nothing.
#![allow(clippy::expect_used, clippy::panic, reason = "a test may")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use nested_vmx::check::{EntryRequest, L1State};
use nested_vmx::exit_reason::ExitReason;
use nested_vmx::interruption::Event;
use nested_vmx::l0::{ExitInformation, HardwareExit, Instruction, Outcome};
use nested_vmx::vmcs::{Field, KVM_REVISION, Vmcs};
use support::{L2, capabilities};

thread_local! {
    /// How often this thread allocated.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts.
struct Counting;

fn count() {
    // While a thread ends, nobody counts any more.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: all of it is the system allocator's; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; `pointer` came from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `run` allocates.
fn allocations<T>(run: impl FnOnce() -> T) -> u64 {
    let before = ALLOCATIONS.get();
    std::hint::black_box(run());
    ALLOCATIONS.get() - before
}

#[test]
fn allocations_are_counted() {
    assert_eq!(allocations(|| vec![0_u8; 4]), 1);
    assert_eq!(allocations(|| [0_u8; 4]), 0);
}

#[test]
fn checks() {
    let capabilities = capabilities();
    let good = L2::new().0;
    // Everything is wrong with it.
    let bad = Vmcs::from_bytes([0xa5; 4096]);
    let l1 = L1State::new(0x8000_0031, 0x2020, 0x500);
    for vmcs12 in [good, bad] {
        let request = EntryRequest::new(&capabilities, &vmcs12, l1);
        assert_eq!(allocations(|| request.check()), 0);
        assert_eq!(allocations(|| request.check_all().rules()), 0);
        assert_eq!(allocations(|| request.check_all().count()), 0);
    }
}

#[test]
fn entries_exits_and_field_accesses() {
    let capabilities = capabilities();
    let mut machine = L2::new().intercepting_all().run();
    let cpuid = HardwareExit::Exit {
        information: ExitInformation::new(ExitReason::CPUID),
        vectoring: None,
    };
    for _ in 0..3 {
        let exit = allocations(|| machine.with_border(|vmx, border| vmx.after_exit(cpuid, border)));
        assert_eq!(exit, 0, "an exit to L1");
        let resume = allocations(|| {
            assert_eq!(machine.execute(Instruction::Vmresume), Outcome::Entered);
        });
        assert_eq!(resume, 0, "VMRESUME");
        machine.vmx.pending_mut().nmi = true;
        let decide = allocations(|| machine.with_border(|vmx, border| vmx.before_entry(border)));
        assert_eq!(decide, 0, "the immediate exit");
        machine.vmx.pending_mut().nmi = false;
    }
    let mut vmcs = Vmcs::new(KVM_REVISION);
    let field = u64::from(Field::GuestRip.encoding().0);
    assert_eq!(allocations(|| vmcs.vmread(field, &capabilities)), 0);
    assert_eq!(allocations(|| vmcs.vmwrite(field, 1, &capabilities)), 0);
    assert_eq!(allocations(|| Event::from_fields(0x8000_0b0e, 0, 0)), 0);
}
