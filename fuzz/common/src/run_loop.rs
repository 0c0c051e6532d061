// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Random scripts for vcpu-runner's loop: exits, I/O that takes several of them, failures, and
//! requests that are made while the guest runs, while an exit is handled and while a request is.
//!
//! All of it happens on one thread, so that an input always does the same; what comes from other
//! threads is the loom models' business. The vCPU's thread can be neither left asleep nor paused
//! here: whatever halts the guest also asks for it to go on.
//!
//! Checked are, along the way and at the end: the guest is never entered with a request pending;
//! nothing is handled that was not made; registers are looked at only with I/O finished; exits come
//! in order, each once, and reads get what they were answered; an immediate exit is made when it was
//! asked for, and told once; the loop ends for the reason that
//! the script gives; and the counters agree.

mod events;
mod handler;
mod script;

use std::sync::{Arc, OnceLock};

use vcpu_runner::scripted::ScriptedVcpu;
use vcpu_runner::{Outcome, Runner, VcpuHandle};

use events::Events;
use handler::{Reactor, Refused};
use script::{End, Script};

use vcpu_requests::requests;

requests! {
    /// One of each kind.
    enum Ask {
        /// Does not look at registers.
        Light = 0,
        /// Looks at registers.
        Registers = 1,
        /// Lets a halted guest go on.
        GoOn = 2,
        Quiet = 5: NO_WAKEUP,
        Leave = 22: WAIT,
        Poke = 23: NO_ACTION,
    }
}

const ASKS: [Ask; 6] = [
    Ask::Light,
    Ask::Registers,
    Ask::GoOn,
    Ask::Quiet,
    Ask::Leave,
    Ask::Poke,
];

type Handle = VcpuHandle<ScriptedVcpu, Ask>;

/// The handle, once there is a runner to have one of.
type LateHandle = Arc<OnceLock<Handle>>;

/// Runs the loop over the script that `data` is.
pub fn run(data: &[u8]) {
    let events = Events::default();
    let handle = LateHandle::default();
    let script = Script::parse(data, &events, &handle);
    let vcpu = ScriptedVcpu::new(script.steps);
    let runner = Runner::new(vcpu, Reactor::new(script.reactions, &events, &handle));
    // Nothing else has set it.
    let _ = handle.set(runner.handle());
    let ended = runner.run();

    let steps_left = ended.vcpu.steps_left();
    match (ended.outcome, script.end) {
        (Outcome::Stopped, _) => assert!(
            events.stop_was_asked(),
            "it stopped though nobody asked, {steps_left} steps before the end"
        ),
        (Outcome::Handler(Refused), _) => assert!(events.was_refused()),
        (Outcome::Error(error), End::Failure) => assert_eq!(steps_left, 0, "{error}"),
        (outcome, end) => panic!("{outcome:?}, but the script's end is {end:?}"),
    }
    let answers = events.answers();
    let finished = ended.vcpu.answers();
    assert!(answers.starts_with(finished), "{answers:?}, {finished:?}");
    assert!(
        answers.len() <= finished.len() + 1,
        "more than the last read is unfinished"
    );
    if let Some(handle) = handle.get() {
        let statistics = handle.statistics();
        let exits: u64 = statistics.exits().map(|(_, count)| count).sum();
        assert_eq!(exits, events.exits());
        assert!(statistics.entries >= ended.vcpu.entries());
        assert!(statistics.kicks_sent <= statistics.entries);
        assert_eq!(statistics.immediate_exits, ended.vcpu.brief_entries());
        assert_eq!(statistics.stray, 0, "one thread cannot be late");
    }
}
