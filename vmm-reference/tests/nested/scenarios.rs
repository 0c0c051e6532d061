// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest's scenarios, undisturbed and with a guest that is moved to a new VM at random moments.

use std::thread;
use std::time::Duration;

use guest_l1::Mode;
use guest_l1::trace::{Trace, differences};
use kvm_ioctls::Kvm;
use vcpu_runner::{Deadline, Error};
use vmm_reference::vm::InterruptControllers;

use super::guest::{Guest, LIMIT, enter, memory};
use super::host;
use super::random::Random;
use super::save::{Places, move_to_new_vm};

/// How long the guest runs between two moves, in microseconds.
const PAUSES: std::ops::Range<u64> = 0..300_000;

fn start(kvm: &Kvm) -> Guest {
    Guest::start(
        kvm,
        memory(Mode::Scenarios),
        InterruptControllers::Kernel,
        Default::default(),
        |vcpu| enter(kvm, vcpu),
    )
}

fn trace(guest: Guest) -> Trace {
    let output = guest.output.clone();
    guest.end();
    let text = output.lock().unwrap();
    Trace::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn a_guest_that_is_moved_prints_the_same() {
    let test = "a_guest_that_is_moved_prints_the_same";
    let Some(kvm) = host::kvm_with_nested_vmx(test) else {
        return;
    };
    let seed: u64 = host::number("NESTED_MOVES_SEED", 1);
    let undisturbed = trace(start(&kvm));

    let mut random = Random::new(seed);
    let mut places = Places::default();
    let mut guest = start(&kvm);
    // Until it has turned VMX on.
    while guest.text().is_empty() {
        thread::sleep(Duration::from_millis(1));
    }
    loop {
        thread::sleep(Duration::from_micros(random.below(PAUSES)));
        match guest.handle.pause(Deadline::after(LIMIT)) {
            Ok(()) => {}
            Err(Error::Ended { .. }) => break,
            Err(error) => panic!("{error}"),
        }
        guest = move_to_new_vm(&kvm, guest, InterruptControllers::Kernel, &mut places);
    }
    let moved = trace(guest);
    println!("NESTED_MOVES_SEED={seed} {places:?}");
    let different: Vec<_> = differences(&undisturbed, &moved)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert_ne!(
        places.run_pending, 0,
        "no move came between a VMLAUNCH and its entry"
    );
}
