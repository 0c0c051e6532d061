// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest's scenarios, undisturbed and with a guest that is moved to a new VM at random moments.

use std::thread;
use std::time::Duration;

use guest_l1::Mode;
use guest_l1::trace::{Difference, Trace, differences};
use kvm_ioctls::Kvm;
use nested_vmx::kvm::{KvmVcpu, VcpuPort};
use vcpu_runner::{Deadline, Error, Phase};
use vmm_reference::vm::InterruptControllers;

use super::guest::{Guest, LIMIT, enter, memory};
use super::host;
use super::random::Random;
use super::save::{Places, move_to_new_vm};

/// How long after it has announced a scenario the guest is moved, in microseconds: about as long as it
/// takes it to write a VMCS and to enter.
const PAUSES: std::ops::Range<u64> = 0..8000;

/// The same, between two looks at whether an entry is pending.
const LOOKS: std::ops::Range<u64> = 0..300;

/// Scenarios that a move may change. In a new VM pages of the guest are not mapped yet: KVM then makes L2
/// exit for itself. See docs/nested-kvm.md.
fn may_change(name: &str) -> bool {
    // KVM forgets INT1 if an exit interrupts its delivery: this type of event is not among those that
    // the kernel's `__vmx_complete_interrupts()` (`vmx.c`) knows. INT3 and INT n it remembers, but does
    // not tell of them (`x86.c`, `kvm_vcpu_ioctl_x86_get_vcpu_events()`), so that a move loses them.
    name.starts_with("injected INT")
        // KVM takes L2's first exit, which may be before its first instruction, for the entry; then it
        // lets L1 have its event, although L2 blocks events until that instruction is executed.
        || name.contains("blocking by STI; ")
        || name.contains("blocking by MOV SS; ")
        // A timer that has fired fires again when its local APIC is restored.
        || name.contains("comes later")
}

fn start(kvm: &Kvm) -> Guest {
    Guest::start(
        kvm,
        memory(Mode::Scenarios),
        InterruptControllers::Kernel,
        Default::default(),
        |vcpu| enter(kvm, InterruptControllers::Kernel, vcpu),
    )
}

fn trace(guest: Guest) -> Trace {
    let output = guest.output.clone();
    guest.end();
    let text = output.lock().unwrap();
    Trace::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Waits until the guest has announced more than `seen` scenarios, and returns how many; `None` when it
/// has come to its end.
fn announced_after(guest: &Guest, seen: usize) -> Option<usize> {
    loop {
        let text = guest.text();
        let scenarios = text.matches("scenario ").count();
        if scenarios > seen && text.ends_with('\n') {
            return Some(scenarios);
        }
        if matches!(guest.handle.phase(), Phase::Ended(_)) {
            return None;
        }
        thread::yield_now();
    }
}

/// Pauses the guest in so many microseconds; false if it has ended.
fn pause_after(guest: &Guest, microseconds: u64) -> bool {
    thread::sleep(Duration::from_micros(microseconds));
    match guest.handle.pause(Deadline::after(LIMIT)) {
        Ok(()) => true,
        Err(Error::Ended { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Pauses the guest between a VMLAUNCH or VMRESUME and the entry, or where it prints the next line;
/// false if it has ended.
fn pause_in_entry(guest: &Guest, random: &mut Random) -> bool {
    let printed = guest.text().len();
    while pause_after(guest, random.below(LOOKS)) {
        let state = guest
            .call(|vcpu| KvmVcpu(vcpu.fd()).nested_state())
            .unwrap();
        if state.is_run_pending() || guest.text().len() > printed {
            return true;
        }
        guest.handle.resume().unwrap();
    }
    false
}

/// Runs the scenarios on a guest that is moved while it runs them. Returns those that came out
/// differently than `undisturbed` and had no known reason to.
fn moved(kvm: &Kvm, seed: u64, undisturbed: &Trace) -> Vec<Difference> {
    let mut random = Random::new(seed);
    let mut places = Places::default();
    let mut guest = start(kvm);
    let mut seen = 0;
    // Once it has announced a scenario, VMX is on.
    while let Some(scenarios) = announced_after(&guest, seen) {
        seen = scenarios;
        if random.below(0..2) == 0 {
            continue;
        }
        let paused = match random.below(0..2) {
            0 => pause_after(&guest, random.below(PAUSES)),
            _ => pause_in_entry(&guest, &mut random),
        };
        if !paused {
            break;
        }
        guest = move_to_new_vm(kvm, guest, InterruptControllers::Kernel, &mut places);
    }
    let trace = trace(guest);
    let Places {
        root,
        l2,
        run_pending,
        ..
    } = places;
    println!("seed {seed}, moved: root {root}, L2 {l2}, run pending {run_pending}");
    assert_ne!(
        run_pending, 0,
        "no move came between a VMLAUNCH and its entry"
    );
    let mut different = differences(undisturbed, &trace);
    different.retain(|difference| !may_change(&difference.name));
    different
}

/// How many scenarios may come out differently by chance: KVM's own exits come at other moments in each
/// run, and each of its races that is known was first seen as one scenario of one run.
const BY_CHANCE: usize = 2;

#[test]
fn a_guest_that_is_moved_prints_the_same() {
    let test = "a_guest_that_is_moved_prints_the_same";
    let Some(kvm) = host::kvm_with_nested_vmx(test) else {
        return;
    };
    let seed: u64 = host::number("NESTED_MOVES_SEED", 1);
    let undisturbed = trace(start(&kvm));
    let first = moved(&kvm, seed, &undisturbed);
    if first.is_empty() {
        return;
    }
    // What a move breaks is broken the next time too.
    let second = moved(&kvm, seed + 1, &undisturbed);
    let show = |differences: &[Difference]| {
        let lines: Vec<_> = differences.iter().map(ToString::to_string).collect();
        lines.join("\n")
    };
    let both = format!("{}\nand then\n{}", show(&first), show(&second));
    println!("differs by chance: {both}");
    assert!(first.len().max(second.len()) <= BY_CHANCE, "{both}");
    let again = |name: &str| second.iter().any(|other| other.name == name);
    assert!(!first.iter().any(|one| again(&one.name)), "{both}");
}
