// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A request that is made gets the vCPU out of the guest, or is seen before it enters.

use loom::sync::Arc;
use loom::thread;

use super::broken::loom_must_catch;
use super::machine::{Ask, Spinning, SpinningGate, check, run_until, spinning};
use crate::SkipFlag;
use crate::gate::Interrupt;
use crate::loop_request::LoopRequest::User;

use vcpu_requests::Kick;

#[test]
fn a_kick_is_never_lost() {
    check(7, || {
        let (vcpu, gate, control) = spinning();
        let maker = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.make(User(Ask::Plain)).unwrap())
        };
        run_until(1, vcpu, &gate, &control);
        maker.join().unwrap();
    });
}

#[test]
fn two_makers_need_one_kick_an_entry() {
    check(5, || {
        let (vcpu, gate, control) = spinning();
        let maker = |ask| {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.make(User(ask)).unwrap())
        };
        let makers = [maker(Ask::Plain), maker(Ask::Other)];
        run_until(2, vcpu, &gate, &control);
        for maker in makers {
            maker.join().unwrap();
        }
        let statistics = gate.counters().snapshot();
        assert!(statistics.kicks_sent <= statistics.entries);
        assert_eq!(
            statistics.entries,
            statistics.kicks_sent + statistics.stray,
            "an entry was ended by more or less than its kick"
        );
    });
}

/// The second request may find the vCPU in its next entry while the first one's signal is still on
/// its way.
#[test]
fn a_late_signal_does_not_eat_the_next_kick() {
    check(6, || {
        let (vcpu, gate, control) = spinning();
        let maker = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || {
                gate.make(User(Ask::Plain)).unwrap();
                gate.make(User(Ask::Other)).unwrap();
            })
        };
        run_until(2, vcpu, &gate, &control);
        maker.join().unwrap();
    });
}

// ---- broken variants, which loom must catch ----

/// A loop of one request, with the flag cleared by `clear` at one of two places.
fn loop_that_clears(vcpu: &Spinning, gate: &SpinningGate, when: Clear) {
    loop {
        if when == Clear::BeforeTheCheck {
            gate.open();
        }
        if !gate.requests().take().is_empty() {
            return;
        }
        let entered = gate.pass(|| {
            if when == Clear::AfterTheCheck {
                gate.open();
            }
            vcpu.kvm_run();
        });
        // Refused because of a request: around again, like the real loop.
        let _ = entered;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Clear {
    BeforeTheCheck,
    AfterTheCheck,
}

fn one_request(when: Clear) {
    check(7, move || {
        let (vcpu, gate, _) = spinning();
        let maker = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.make(User(Ask::Plain)).unwrap())
        };
        loop_that_clears(&vcpu, &gate, when);
        maker.join().unwrap();
    });
}

#[test]
fn clearing_the_flag_before_the_check_is_right() {
    one_request(Clear::BeforeTheCheck);
}

loom_must_catch!(clearing_the_flag_after_the_check_loses_kicks, "deadlock", {
    one_request(Clear::AfterTheCheck);
});

#[derive(Clone, Copy)]
enum Broken {
    KickBeforeRequest,
    SignalBeforeFlag,
    NoFlag,
    NoSignal,
}

/// [`Gate::make`](crate::gate::Gate::make) with one thing wrong.
fn broken_make(
    vcpu: &(super::machine::Skip, super::machine::Thread),
    gate: &SpinningGate,
    broken: Broken,
) {
    let (skip, thread) = vcpu;
    match broken {
        Broken::KickBeforeRequest => {
            skip.set();
            thread.interrupt().unwrap();
            // What it says comes too late to be done.
            let _ = gate.requests().make(User(Ask::Plain));
        }
        _ if gate.requests().make(User(Ask::Plain)).kick != Kick::Signal => {}
        Broken::SignalBeforeFlag => {
            thread.interrupt().unwrap();
            skip.set();
        }
        Broken::NoFlag => thread.interrupt().unwrap(),
        Broken::NoSignal => skip.set(),
    }
}

fn with_broken_make(broken: Broken) {
    check(7, move || {
        let (vcpu, gate, control) = spinning();
        let parts = (vcpu.skip(), vcpu.thread());
        let maker = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || broken_make(&parts, &gate, broken))
        };
        run_until(1, vcpu, &gate, &control);
        maker.join().unwrap();
    });
}

loom_must_catch!(kicking_before_the_request_loses_it, "deadlock", {
    with_broken_make(Broken::KickBeforeRequest);
});

loom_must_catch!(signalling_before_the_flag_loses_kicks, "deadlock", {
    with_broken_make(Broken::SignalBeforeFlag);
});

loom_must_catch!(a_signal_without_the_flag_loses_kicks, "deadlock", {
    with_broken_make(Broken::NoFlag);
});

loom_must_catch!(the_flag_without_a_signal_loses_kicks, "deadlock", {
    with_broken_make(Broken::NoSignal);
});
