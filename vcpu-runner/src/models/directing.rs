// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Pause, resume, calls and stop, on the crate's own loop; and that its end is told to who waits.

use loom::sync::Arc;
use loom::thread;

use super::broken::loom_must_catch;
use super::machine::{check, run_until, spinning};
use crate::control::Control;
use crate::loop_request::LoopRequest;
use crate::{Deadline, Ending, Error, Outcome, Phase};

use super::machine::{Spinning, SpinningGate};

fn pause(gate: &SpinningGate, control: &Control<Spinning>) -> Result<(), Error> {
    let before = control.ask_pause()?;
    gate.make(LoopRequest::Pause)?;
    control.wait_paused(before, Deadline::NEVER)
}

fn stop(gate: &SpinningGate, control: &Control<Spinning>) {
    control.ask_stop();
    gate.make(LoopRequest::Stop).unwrap();
}

#[test]
fn a_paused_vcpu_resumes_and_stops() {
    check(5, || {
        let (vcpu, gate, control) = spinning();
        let director = {
            let (gate, control) = (Arc::clone(&gate), Arc::clone(&control));
            thread::spawn(move || {
                pause(&gate, &control).unwrap();
                assert!(matches!(control.phase(), Phase::Paused));
                control.resume().unwrap();
                stop(&gate, &control);
            })
        };
        let outcome = run_until(usize::MAX, vcpu, &gate, &control);
        assert!(matches!(outcome, Outcome::Stopped));
        director.join().unwrap();
    });
}

#[test]
fn a_closure_runs_on_the_vcpus_thread() {
    check(5, || {
        let (vcpu, gate, control) = spinning();
        let director = {
            let (gate, control) = (Arc::clone(&gate), Arc::clone(&control));
            thread::spawn(move || {
                let (sender, receiver) = loom::sync::mpsc::channel();
                control
                    .queue(Box::new(move |_| sender.send(()).unwrap()))
                    .unwrap();
                gate.make(LoopRequest::Call).unwrap();
                receiver.recv().unwrap();
                stop(&gate, &control);
            })
        };
        run_until(usize::MAX, vcpu, &gate, &control);
        director.join().unwrap();
    });
}

#[test]
fn a_thread_that_ends_instead_of_pausing_says_so() {
    check(6, || {
        let (_, gate, control) = spinning();
        let director = {
            let (gate, control) = (Arc::clone(&gate), Arc::clone(&control));
            thread::spawn(move || pause(&gate, &control))
        };
        // A handler that fails before the pause is seen.
        control.begin();
        drop(control.end(Ending::Failed));
        gate.ring();
        let paused = director.join().unwrap();
        assert!(matches!(paused, Err(Error::Ended(Ending::Failed))));
    });
}

loom_must_catch!(
    a_thread_that_ends_in_silence_is_waited_for_for_ever,
    "deadlock",
    {
        check(6, || {
            let (_, gate, control) = spinning();
            let director = {
                let (gate, control) = (Arc::clone(&gate), Arc::clone(&control));
                thread::spawn(move || pause(&gate, &control))
            };
            control.begin();
            let _ = director.join();
        });
    }
);

loom_must_catch!(
    /// The bit says "look what is asked": made first, it is looked at too early.
    a_bit_before_what_it_is_about_is_overlooked,
    "deadlock",
    check(5, || {
        let (vcpu, gate, control) = spinning();
        let director = {
            let (gate, control) = (Arc::clone(&gate), Arc::clone(&control));
            thread::spawn(move || {
                gate.make(LoopRequest::Pause).unwrap();
                let before = control.ask_pause().unwrap();
                control.wait_paused(before, Deadline::NEVER).unwrap();
                stop(&gate, &control);
            })
        };
        run_until(usize::MAX, vcpu, &gate, &control);
        director.join().unwrap();
    })
);
