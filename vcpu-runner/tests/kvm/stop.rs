// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Stopping works from every state, and whoever waits is told.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::guest::{Ask, Machine, Recorder, Seen, next, soon};
use vcpu_runner::kvm::KvmVcpu;
use vcpu_runner::{Deadline, Ending, Error, Exit, Flow, Handler, Outcome, Phase, Runner};

const SPIN: &[u8] = &[0xeb, 0xfe]; // jmp $
const HALT: &[u8] = &[0xf4]; // hlt
const OUT: &[u8] = &[0xe6, 0x80, 0xeb, 0xfc]; // out 0x80, al; jmp to the out

fn stopped(ending: Result<Ending, Error>) -> bool {
    matches!(ending, Ok(Ending::Stopped))
}

#[test]
fn before_it_has_started() {
    let Some(machine) = Machine::new("stop before_it_has_started", SPIN) else {
        return;
    };
    let (recorder, _seen) = Recorder::new();
    let runner = Runner::new(machine.vcpu(0), recorder);
    let handle = runner.handle();
    handle.stop().unwrap();
    assert!(matches!(handle.phase(), Phase::Ready));
    let ended = runner.spawn().unwrap().join().unwrap();
    assert!(matches!(ended.outcome, Outcome::Stopped));
    assert_eq!(handle.statistics().entries, 0);
}

#[test]
fn instead_of_being_started() {
    let Some(machine) = Machine::new("stop instead_of_being_started", SPIN) else {
        return;
    };
    let (recorder, _seen) = Recorder::new();
    let runner = Runner::new(machine.vcpu(0), recorder);
    let handle = runner.handle();
    drop(runner);
    assert!(matches!(handle.wait(soon()), Ok(Ending::NeverRan)));
    assert!(matches!(
        handle.pause(soon()),
        Err(Error::Ended(Ending::NeverRan))
    ));
    handle.stop().unwrap();
}

#[test]
fn in_the_guest() {
    for _ in 0..200 {
        // A vCPU's number is its own for the machine's life, so each round has a machine.
        let Some(machine) = Machine::new("stop in_the_guest", SPIN) else {
            return;
        };
        let (recorder, _seen) = Recorder::new();
        let thread = Runner::new(machine.vcpu(0), recorder).spawn().unwrap();
        thread.handle().stop().unwrap();
        assert!(stopped(thread.handle().wait(soon())));
        thread.join().unwrap();
    }
}

#[test]
fn asleep() {
    let Some(machine) = Machine::new("stop asleep", HALT) else {
        return;
    };
    let (recorder, seen) = Recorder::new();
    let thread = Runner::new(machine.vcpu(0), recorder).spawn().unwrap();
    assert_eq!(next(&seen), Seen::Hlt);
    std::thread::sleep(Duration::from_millis(10));
    thread.handle().stop().unwrap();
    assert!(stopped(thread.handle().wait(soon())));
    thread.join().unwrap();
}

#[test]
fn paused() {
    let Some(machine) = Machine::new("stop paused", SPIN) else {
        return;
    };
    let (recorder, _seen) = Recorder::new();
    let thread = Runner::new(machine.vcpu(0), recorder).spawn().unwrap();
    let handle = thread.handle();
    handle.pause(soon()).unwrap();
    handle.stop().unwrap();
    assert!(stopped(handle.wait(soon())));
    // What has ended is told to all who come later, and cannot be signalled.
    assert!(matches!(handle.pause(soon()), Err(Error::Ended(_))));
    assert!(matches!(handle.resume(), Err(Error::Ended(_))));
    assert!(matches!(handle.kick(), Err(Error::Ended(_))));
    assert!(matches!(handle.request(Ask::Report), Err(Error::Ended(_))));
    assert!(matches!(handle.call(soon(), |_| ()), Err(Error::Ended(_))));
    handle.stop().unwrap();
    let late = handle.clone();
    thread.join().unwrap();
    late.stop().unwrap();
    assert!(stopped(late.wait(soon())));
}

/// Waits in its exit handler until the test lets it go on, or panics.
struct Held {
    entered: Sender<()>,
    go_on: Receiver<Then>,
}

enum Then {
    Return,
    Panic,
}

impl Handler<KvmVcpu> for Held {
    type Request = Ask;
    type Error = String;

    fn exit(&mut self, _: Exit<'_>) -> Result<Flow, String> {
        let _ = self.entered.send(());
        match self.go_on.recv() {
            Ok(Then::Return) => Ok(Flow::Continue),
            Ok(Then::Panic) => panic!("the device is on fire"),
            Err(_) => Ok(Flow::Stop),
        }
    }

    fn request(&mut self, _: Ask, _: &mut KvmVcpu) -> Result<Flow, String> {
        Ok(Flow::Continue)
    }
}

fn held() -> (Held, Receiver<()>, Sender<Then>) {
    let (entered, inside) = channel();
    let (then, go_on) = channel();
    (Held { entered, go_on }, inside, then)
}

#[test]
fn in_the_handler() {
    let Some(machine) = Machine::new("stop in_the_handler", OUT) else {
        return;
    };
    let (handler, inside, then) = held();
    let thread = Runner::new(machine.vcpu(0), handler).spawn().unwrap();
    inside.recv().unwrap();
    thread.handle().stop().unwrap();
    // It ends when the handler returns, not before.
    assert!(matches!(
        thread
            .handle()
            .wait(Deadline::after(Duration::from_millis(20))),
        Err(Error::DeadlinePassed)
    ));
    then.send(Then::Return).unwrap();
    assert!(stopped(thread.handle().wait(soon())));
    thread.join().unwrap();
}

#[test]
fn a_panic_in_the_handler_reaches_all_who_wait() {
    let Some(machine) = Machine::new("a_panic_in_the_handler_reaches_all_who_wait", OUT) else {
        return;
    };
    let (handler, inside, then) = held();
    let thread = Runner::new(machine.vcpu(0), handler).spawn().unwrap();
    inside.recv().unwrap();
    let handle = thread.handle();
    let panicked = |ending: &Ending| match ending {
        Ending::Panicked(message) => message.contains("on fire"),
        _ => false,
    };
    std::thread::scope(|scope| {
        let pausing = scope.spawn(|| handle.pause(soon()));
        let calling = scope.spawn(|| handle.call(soon(), |_| ()));
        let waiting = scope.spawn(|| handle.wait(soon()));
        // All three are on their way; whether they have arrived makes no difference.
        std::thread::sleep(Duration::from_millis(10));
        then.send(Then::Panic).unwrap();
        assert!(matches!(pausing.join().unwrap(), Err(Error::Ended(e)) if panicked(&e)));
        assert!(matches!(calling.join().unwrap(), Err(Error::Ended(e)) if panicked(&e)));
        assert!(matches!(waiting.join().unwrap(), Ok(e) if panicked(&e)));
    });
    match thread.join().unwrap().outcome {
        Outcome::Panicked(message) => assert!(message.contains("on fire")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_panic_in_a_closure_reaches_its_sender() {
    let Some(machine) = Machine::new("a_panic_in_a_closure_reaches_its_sender", SPIN) else {
        return;
    };
    let (recorder, _seen) = Recorder::new();
    let thread = Runner::new(machine.vcpu(0), recorder).spawn().unwrap();
    let answer: Result<(), Error> = thread
        .handle()
        .call(soon(), |_| panic!("not in this thread"));
    assert!(matches!(
        answer,
        Err(Error::Ended(Ending::Panicked(message))) if &*message == "not in this thread"
    ));
    thread.join().unwrap();
}

#[test]
fn a_dropped_thread_is_asked_to_stop() {
    let Some(machine) = Machine::new("a_dropped_thread_is_asked_to_stop", SPIN) else {
        return;
    };
    let (recorder, _seen) = Recorder::new();
    let thread = Runner::new(machine.vcpu(0), recorder).spawn().unwrap();
    let handle = thread.handle().clone();
    drop(thread);
    assert!(stopped(handle.wait(soon())));
}
