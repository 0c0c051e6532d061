// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! L1 launches L2 in a loop, with an injection each time, while the VMM raises events for L1 at
//! random moments.

use std::thread;
use std::time::{Duration, Instant};

use guest_l1::Mode;
use guest_l1::scenario::VECTOR;
use guest_l1::storm::{self, Shared};
use nested_vmx::interruption::EventType;
use vcpu_runner::Deadline;
use vm_memory::{Bytes, GuestAddress};
use vmm_reference::vm::InterruptControllers;

use super::books::{Books, Raised, counter};
use super::guest::{Guest, LIMIT, enter, memory};
use super::host;
use super::random::Random;
use super::save::{Places, move_to_new_vm};

/// Where a message-signalled interrupt for the first vCPU is written.
const MSI: u64 = 0xfee0_0000;
/// How long the VMM waits between two events, in microseconds: some rounds of the guest's loop.
const PAUSES: std::ops::Range<u64> = 0..3000;

/// Raises `what` for a guest that is paused: nothing that it counts changes meanwhile. Returns how
/// many nested exits there had been.
fn raise(guest: &Guest, interrupts: InterruptControllers, what: Raised) -> u64 {
    let exits = guest.shared().exits;
    if what.nmis() > 0 {
        guest.call(|vcpu| vcpu.fd().nmi()).unwrap();
    }
    if what.interrupts() > 0 {
        match interrupts {
            InterruptControllers::Kernel => {
                assert!(guest.vm.signal_msi(MSI, VECTOR.into()).unwrap());
            }
            InterruptControllers::Split => {
                guest.call(|vcpu| vcpu.interrupt(VECTOR)).unwrap();
            }
            InterruptControllers::Vmm => guest.call(|vcpu| {
                if vcpu.is_ready_for_interrupt().unwrap() {
                    vcpu.interrupt(VECTOR).unwrap();
                } else {
                    vcpu.request_interrupt_window(true);
                }
            }),
        }
    }
    exits
}

/// Waits until what L1 has counted is as `wanted`.
fn wait(guest: &Guest, wanted: impl Fn(&Shared) -> bool) -> Shared {
    let begin = Instant::now();
    loop {
        let shared = guest.shared();
        if wanted(&shared) {
            // Once more: what L1 had written before it counted may have been read before the count.
            return guest.shared();
        }
        let goes_on = shared.end == 0 && begin.elapsed() < LIMIT;
        assert!(goes_on, "{shared:x?} {}", guest.text());
        thread::yield_now();
    }
}

/// How much there is to do, 5,000 events and 200 moves in all.
struct Storm {
    interrupts: InterruptControllers,
    events: u64,
    moves: u64,
}

fn run(test: &str, storm: &Storm) {
    let Some(kvm) = host::kvm_with_nested_vmx(test) else {
        return;
    };
    let interrupts = storm.interrupts;
    let events: u64 = host::number("NESTED_STORM_EVENTS", storm.events);
    let seed: u64 = host::number("NESTED_STORM_SEED", 1);
    println!("{events} events, NESTED_STORM_SEED={seed}");
    let mut random = Random::new(seed);
    let mut books = Books::default();
    let mut places = Places::default();
    let mode = Mode::Storm { local_apic: true };
    let set = |vcpu: &_| enter(&kvm, interrupts, vcpu);
    let mut guest = Guest::start(&kvm, memory(mode), interrupts, Default::default(), set);
    let begin = Instant::now();
    wait(&guest, |shared| shared.iterations > 0);
    while books.interrupts + books.nmis < events {
        thread::sleep(Duration::from_micros(random.below(PAUSES)));
        let what = Raised::any(&mut random);
        books.raise(what);
        guest.handle.pause(Deadline::after(LIMIT)).unwrap();
        // An interrupt that KVM was given for a PIC of the VMM's is not in the vCPU's state: it would
        // be the VMM's to give it again.
        let with_event = interrupts == InterruptControllers::Kernel || what == Raised::Nmi;
        let due = places.all() * events < (books.interrupts + books.nmis) * storm.moves;
        let save = due && with_event;
        let exits = raise(&guest, interrupts, what);
        if save {
            guest = move_to_new_vm(&kvm, guest, interrupts, &mut places);
        } else {
            guest.handle.resume().unwrap();
        }
        let shared = wait(&guest, |shared| books.have_all_arrived(shared));
        books.arrived(what, exits, &shared);
    }
    let stop = GuestAddress(storm::STOP);
    guest.vm.memory().write_obj(1u64, stop).unwrap();
    let output = guest.output.clone();
    let memory = guest.end();
    let shared = super::guest::shared(&memory);
    // What is on its way into L2 is what L1 has injected.
    for injection in places.injected.drain(..) {
        let event = injection.event;
        assert_eq!(event.kind, EventType::ExternalInterrupt, "{event:?}");
        assert!(storm::vectors().contains(&event.vector), "{event:?}");
    }
    println!("{:?}: {books:?} {places:?} {shared:?}", begin.elapsed());
    assert_eq!(*output.lock().unwrap(), "");
    books.check(&memory, &shared);
    assert!(places.all() >= storm.moves - 1, "{places:?}");
    assert_ne!(
        places.run_pending, 0,
        "no move came between a VMLAUNCH and its entry"
    );
}

#[test]
fn events_through_the_kernels_interrupt_controllers() {
    run(
        "events_through_the_kernels_interrupt_controllers",
        &Storm {
            interrupts: InterruptControllers::Kernel,
            events: 3000,
            moves: 130,
        },
    );
}

#[test]
fn events_through_the_vmms_interrupt_controllers() {
    run(
        "events_through_the_vmms_interrupt_controllers",
        &Storm {
            interrupts: InterruptControllers::Split,
            events: 2000,
            moves: 70,
        },
    );
}

/// Where KVM has no local APIC, an interrupt that the VMM gives it is, to KVM, one that is on its way
/// already: it goes to whatever runs next, to L2 too (kernel, `x86.c`, the comment at
/// `kvm_cpu_has_extint()`). So VMMs that run hypervisors leave the local APICs to KVM. This test fails
/// when KVM has learned it.
#[test]
fn without_a_local_apic_of_kvms_l2_gets_l1s_interrupt() {
    let test = "without_a_local_apic_of_kvms_l2_gets_l1s_interrupt";
    let Some(kvm) = host::kvm_with_nested_vmx(test) else {
        return;
    };
    let interrupts = InterruptControllers::Vmm;
    let mode = Mode::Storm { local_apic: false };
    let set = |vcpu: &_| enter(&kvm, interrupts, vcpu);
    let guest = Guest::start(&kvm, memory(mode), interrupts, Default::default(), set);
    wait(&guest, |shared| shared.iterations > 0);
    guest.handle.pause(Deadline::after(LIMIT)).unwrap();
    raise(&guest, interrupts, Raised::Interrupt);
    guest.handle.resume().unwrap();
    let memory = guest.vm.memory().clone();
    let in_l2 = move || counter(&memory, VECTOR);
    let shared = wait(&guest, |shared| shared.interrupts + in_l2() > 0);
    let stop = GuestAddress(storm::STOP);
    guest.vm.memory().write_obj(1u64, stop).unwrap();
    let memory = guest.end();
    assert_eq!((shared.interrupts, counter(&memory, VECTOR)), (0, 1));
}
