// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The storm of events on a KVM without VMX: the reference VMM is L0 itself. Each entry to L2 for
//! which an event of L1's waits is one of vcpu-runner's immediate exits.

use std::thread;
use std::time::{Duration, Instant};

use guest_l1::Mode;
use guest_l1::scenario::VECTOR;
use guest_l1::storm::Shared;
use kvm_ioctls::Kvm;
use nested_vmx::soft::Entering;
use vcpu_runner::Deadline;
use vmm_reference::devices::interrupts::{DeliveryMode, InterruptMessage};

use super::books::{Books, Raised};
use super::guest::{LIMIT, shared};
use super::host;
use super::random::Random;
use super::soft_machine::SoftL1;

/// How long the VMM waits between two events, in microseconds: some rounds of the guest's loop.
const PAUSES: std::ops::Range<u64> = 0..3000;

/// Raises `what` while nothing that the guest counts changes. Returns how many nested exits there
/// had been.
fn raise(l1: &SoftL1, what: Raised) -> u64 {
    let handle = l1.thread.handle();
    handle.pause(Deadline::after(LIMIT)).unwrap();
    let exits = shared(&l1.memory).exits;
    let message = |mode, vector| InterruptMessage {
        destination: 0,
        logical: false,
        mode,
        vector,
        level_triggered: false,
    };
    if what.nmis() > 0 {
        assert!(l1.chipset.send(&message(DeliveryMode::Nmi, 0)));
    }
    if what.interrupts() > 0 {
        assert!(l1.chipset.send(&message(DeliveryMode::Fixed, VECTOR)));
    }
    handle.resume().unwrap();
    exits
}

/// Waits until what L1 has counted is as `wanted`.
fn wait(l1: &SoftL1, wanted: impl Fn(&Shared) -> bool) -> Shared {
    let begin = Instant::now();
    loop {
        let shared = shared(&l1.memory);
        if wanted(&shared) {
            return shared;
        }
        let goes_on = shared.end == 0 && begin.elapsed() < LIMIT;
        assert!(goes_on, "{shared:x?} {:?}", l1.first.get());
        thread::yield_now();
    }
}

#[test]
fn events_for_an_l1_whose_vmx_is_software() {
    let kvm = match Kvm::new() {
        Ok(kvm) => kvm,
        Err(error) => {
            println!(
                "SKIPPED: events_for_an_l1_whose_vmx_is_software: no usable /dev/kvm: {error}"
            );
            return;
        }
    };
    let events: u64 = host::number("NESTED_SOFT_STORM_EVENTS", 10_000);
    let seed: u64 = host::number("NESTED_STORM_SEED", 1);
    println!("{events} events, NESTED_STORM_SEED={seed}");
    let mut random = Random::new(seed);
    let mut books = Books::default();
    let mode = Mode::Storm { local_apic: true };
    let l1 = SoftL1::start(&kvm, mode, None, Entering::default());
    let begin = Instant::now();
    wait(&l1, |shared| shared.iterations > 0);
    while books.interrupts + books.nmis < events {
        thread::sleep(Duration::from_micros(random.below(PAUSES)));
        let what = Raised::any(&mut random);
        books.raise(what);
        let exits = raise(&l1, what);
        let shared = wait(&l1, |shared| books.have_all_arrived(shared));
        books.arrived(what, exits, &shared);
    }
    let memory = l1.memory.clone();
    let (shared, statistics) = l1.end();
    println!("{:?}: {books:?} {shared:?} {statistics:?}", begin.elapsed());
    books.check(&memory, &shared);
    // L1's injections, and none but them. Those that an exit has interrupted are injected again.
    assert!(statistics.injections >= shared.injected, "{statistics:?}");
    assert_ne!(
        statistics.immediate_exits, 0,
        "no event came between a VMLAUNCH and its entry"
    );
}
