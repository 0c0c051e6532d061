// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A kick whose guest has exited by itself leaves the skip flag behind. The flag may cost one entry,
//! and never the next one.

#![allow(clippy::unwrap_used, clippy::panic)] // A test that fails panics.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vcpu_requests::requests;
use vcpu_runner::{Exit, Flow, Handler, Outcome, RunError, Runner, SkipFlag, Vcpu, VcpuHandle};

requests! {
    /// What the tests ask.
    pub enum Ask {
        /// Nothing.
        Nothing = 0,
    }
}

#[derive(Default)]
struct Flag(AtomicBool);

impl SkipFlag for Flag {
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// What happens while the guest runs, before it exits by itself.
type Event = Box<dyn FnOnce(&VcpuHandle<Events, Ask>)>;

/// A vCPU whose guest exits after each event, kicked or not.
struct Events {
    flag: Arc<Flag>,
    events: VecDeque<Event>,
    handle: Option<VcpuHandle<Events, Ask>>,
    /// What each run was: an entry, or skipped.
    entered: Vec<bool>,
}

impl Vcpu for Events {
    type Skip = Flag;

    fn skip_flag(&self) -> Arc<Flag> {
        Arc::clone(&self.flag)
    }

    fn run(&mut self) -> Result<Exit<'_>, RunError> {
        let skip = self.flag.0.load(Ordering::Relaxed);
        self.entered.push(!skip);
        if skip {
            return Err(RunError::Interrupted);
        }
        match self.events.pop_front() {
            Some(event) => {
                event(self.handle.as_ref().unwrap());
                Ok(Exit::IrqWindowOpen)
            }
            None => Ok(Exit::Shutdown),
        }
    }
}

/// What the handler does with an exit that is not the last.
struct Then(Box<dyn FnMut() + Send>);

impl Handler<Events> for Then {
    type Request = Ask;
    type Error = String;

    fn exit(&mut self, exit: Exit<'_>) -> Result<Flow, String> {
        match exit {
            Exit::Shutdown => Ok(Flow::Stop),
            _ => {
                (self.0)();
                Ok(Flow::Continue)
            }
        }
    }

    fn request(&mut self, _: Ask, _: &mut Events) -> Result<Flow, String> {
        Ok(Flow::Continue)
    }

    fn needs_registers(&self, _: Ask) -> bool {
        false
    }
}

/// Runs the events, and returns which runs were entries and how many of the others were stray.
fn run(
    events: impl IntoIterator<Item = Event>,
    then: impl FnOnce(Arc<Flag>) -> Box<dyn FnMut() + Send>,
) -> (Vec<bool>, u64) {
    let flag = Arc::new(Flag::default());
    let vcpu = Events {
        flag: Arc::clone(&flag),
        events: events.into_iter().collect(),
        handle: None,
        entered: Vec::new(),
    };
    let mut runner = Runner::new(vcpu, Then(then(flag)));
    let handle = runner.handle();
    runner.vcpu_mut().handle = Some(handle.clone());
    let ended = runner.run();
    assert!(matches!(ended.outcome, Outcome::Stopped));
    (ended.vcpu.entered, handle.statistics().stray)
}

#[test]
fn the_flag_of_a_kick_that_comes_with_an_exit_skips_nothing() {
    let kick: Event = Box::new(|handle| handle.kick().unwrap());
    let request: Event = Box::new(|handle| handle.request(Ask::Nothing).unwrap());
    let (entered, stray) = run([kick, request], |_| Box::new(|| {}));
    assert_eq!((entered, stray), (vec![true; 3], 0));
}

#[test]
fn a_flag_that_is_set_after_the_exit_skips_one_entry() {
    let nothing = || -> Event { Box::new(|_| {}) };
    // As if the maker had been held up between its request and the flag.
    let late = |flag: Arc<Flag>| -> Box<dyn FnMut() + Send> {
        let mut times = 0;
        Box::new(move || {
            times += 1;
            if times == 1 {
                flag.set();
            }
        })
    };
    let (entered, stray) = run([nothing(), nothing()], late);
    assert_eq!((entered, stray), (vec![true, false, true, true], 1));
}
