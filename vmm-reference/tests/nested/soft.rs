// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The storm of events on a KVM without VMX: the reference VMM is L0 itself. Each entry to L2 for
//! which an event of L1's waits is one of vcpu-runner's immediate exits.

use std::thread;
use std::time::{Duration, Instant};

use guest_l1::Mode;
use guest_l1::scenario::{L1Event, VECTOR};
use guest_l1::scenarios;
use guest_l1::storm::Shared;
use guest_l1::trace::Trace;
use kvm_ioctls::Kvm;
use nested_vmx::soft::Entering;
use vcpu_runner::Deadline;
use vmm_reference::devices::interrupts::{DeliveryMode, InterruptMessage};
use vmm_reference::vcpu_handler::VcpuRequest;

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
            // Once more: what L1 had written before it counted may have been read before the count.
            return self::shared(&l1.memory);
        }
        let goes_on = shared.end == 0 && begin.elapsed() < LIMIT;
        assert!(goes_on, "{shared:x?} {:?} {}", l1.first.get(), l1.tell());
        thread::yield_now();
    }
}

/// The traces are compared by `cargo xtask traces`, where there are others to compare them with. Here each
/// scenario comes to an end, and L1's event comes once.
#[test]
fn scenarios_of_an_l1_whose_vmx_is_software() {
    let kvm = match Kvm::new() {
        Ok(kvm) => kvm,
        Err(error) => {
            println!(
                "SKIPPED: scenarios_of_an_l1_whose_vmx_is_software: no usable /dev/kvm: {error}"
            );
            return;
        }
    };
    let l1 = SoftL1::start(&kvm, Mode::Scenarios, None, Entering::default());
    let begin = Instant::now();
    while !l1.printed.text().ends_with("done\n") {
        let goes_on = begin.elapsed() < 4 * LIMIT && !l1.first.is_reported();
        assert!(goes_on, "{}", l1.printed.text());
        // There is no event loop here that would know of its timers.
        thread::sleep(Duration::from_millis(5));
        let _ = l1.thread.handle().request(VcpuRequest::Event);
    }
    let trace = Trace::parse(&l1.printed.text()).unwrap();
    l1.end();
    let all = scenarios::all();
    assert_eq!(trace.scenarios.len(), all.len());
    for (scenario, outcome) in all.iter().zip(&trace.scenarios) {
        assert_eq!(scenario.name, outcome.name);
        assert!(!outcome.is_skipped(), "{outcome:?}");
        let counts = outcome.lines.last().unwrap();
        let (l1, l2) = counts.split_once(';').unwrap();
        let injected = outcome
            .lines
            .iter()
            .any(|line| line.contains("injecting 40"));
        let twice = |counts: &str, vector: &str| {
            let prefix = format!("{vector}x");
            let found = counts
                .split(' ')
                .find_map(|word| word.strip_prefix(&*prefix));
            found.is_some_and(|count| count != "1")
        };
        assert!(!twice(l1, "e1") && !twice(l1, "2"), "{outcome:?}");
        assert!(!injected || !twice(l2, "40"), "{outcome:?}");
        let is_entered = !outcome.lines.iter().any(|line| line.contains("80000021"));
        if scenario.event == L1Event::ExternalInterrupt && is_entered {
            assert!(l1.contains("e1x1"), "{outcome:?}");
        }
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
