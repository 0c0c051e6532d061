// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Random schedules of simulated vCPUs and makers, step by step, against a model.
//!
//! Every step of the entry protocol, on the vCPU's side and on the maker's, is one step here: what
//! the vCPU's thread, KVM_RUN, the skip flag and the signal do in between is simulated. An input is
//! a schedule: each byte says who takes the next step, and which way where there is a choice. All of
//! it happens in one thread, so this is about the protocol's logic; memory orderings are what the
//! crate's loom models are about.
//!
//! After each step: the word shows what the model shows, and no vCPU is in the guest or asleep with
//! work that nobody is about to tell it of. After the last: everybody comes to rest without any help
//! but the protocol's.

mod maker;
mod model;
mod vcpu;

use std::cell::Cell;

use vcpu_requests::value::{Policy, Value};
use vcpu_requests::{VcpuRequests, requests};

use maker::Maker;
use model::Model;
use vcpu::Vcpu;

const VCPUS: usize = 2;
const MAKERS: usize = 3;
const ACTORS: u8 = (VCPUS + MAKERS) as u8;
/// Longer inputs say nothing new.
const MAX_STEPS: usize = 4096;
/// More rounds than the longest way to rest takes: a maker's seven steps, a vCPU's seven, and those
/// of all the others in between.
const MAX_ROUNDS: usize = 200;

requests! {
    /// One of each kind.
    enum Ask {
        /// Comes with the maker's own bit, collected.
        Event = 0,
        /// Comes with a number of which the greatest counts.
        Deadline = 7,
        FlushTlb = 8: WAIT | NO_WAKEUP,
        Quiet = 9: NO_WAKEUP,
        Stop = 30: WAIT,
        Poke = 10: NO_ACTION,
        OutsideGuest = 31: WAIT | NO_WAKEUP | NO_ACTION,
    }
}

const ASKS: [Ask; 7] = [
    Ask::Event,
    Ask::Deadline,
    Ask::FlushTlb,
    Ask::Quiet,
    Ask::Stop,
    Ask::Poke,
    Ask::OutsideGuest,
];

/// What a vCPU's thread shares with makers.
struct Shared {
    word: VcpuRequests<Ask>,
    events: Value,
    deadline: Value,
    /// kvm_run.immediate_exit.
    skip: Cell<bool>,
    /// A sleeping thread is to look whether it is woken.
    bell: Cell<bool>,
    model: Model,
}

impl Shared {
    fn new() -> Self {
        Self {
            word: VcpuRequests::new(),
            events: Value::new(Policy::Or),
            deadline: Value::new(Policy::Max),
            skip: Cell::new(false),
            bell: Cell::new(false),
            model: Model::new(),
        }
    }
}

/// Runs the schedule that `data` is.
pub fn run(data: &[u8]) {
    let shared: [Shared; VCPUS] = std::array::from_fn(|_| Shared::new());
    let mut vcpus = shared.each_ref().map(Vcpu::new);
    let mut makers: [Maker; MAKERS] = std::array::from_fn(Maker::new);

    for byte in data.iter().take(MAX_STEPS) {
        let actor = usize::from(byte % ACTORS);
        let choice = byte / ACTORS;
        match vcpus.get_mut(actor) {
            Some(vcpu) => vcpu.step(choice),
            None => makers[actor - VCPUS].step(choice, &mut vcpus),
        }
        check(&vcpus, &makers);
    }
    settle(&mut vcpus, &mut makers);
}

/// What holds after each step.
fn check(vcpus: &[Vcpu<'_>], makers: &[Maker]) {
    for (index, vcpu) in vcpus.iter().enumerate() {
        let kick_under_way = makers.iter().any(|maker| maker.is_to_kick(index));
        vcpu.check(kick_under_way);
    }
}

/// Lets everybody go on, with no exit that nobody asked for, until all have come to rest.
fn settle(vcpus: &mut [Vcpu<'_>], makers: &mut [Maker]) {
    for _ in 0..MAX_ROUNDS {
        if makers.iter().all(Maker::is_idle) && vcpus.iter().all(Vcpu::is_at_rest) {
            return;
        }
        for maker in makers.iter_mut().filter(|maker| !maker.is_idle()) {
            maker.step(0, vcpus);
        }
        for vcpu in vcpus.iter_mut() {
            vcpu.step(0);
        }
        check(vcpus, makers);
    }
    panic!("these do not come to rest: {makers:?} {vcpus:?}");
}
