// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The loop's side of the immediate exit, on a vCPU that follows a script: which entry it is, and who
//! is told what.

#![allow(clippy::unwrap_used, clippy::panic)] // A test that fails panics.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use vcpu_requests::requests;
use vcpu_runner::scripted::{ScriptedVcpu, Step};
use vcpu_runner::{
    Deadline, Ending, Error, Evidence, Exit, ExitKind, Flow, Handler, ImmediateExit, NotEntered,
    Outcome, Runner, VcpuHandle,
};

requests! {
    /// What the tests ask.
    pub enum Ask {
        /// Nothing.
        Look = 0,
        /// Asks for an immediate exit while requests are handled.
        Raise = 1,
        /// Like `Raise`, from the last turn of the handler's requests.
        RaiseLate = 23,
        /// The guest is halted no longer.
        GoOn = 2,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Exit(ExitKind),
    Asked(Ask),
    /// Evidence, and whether I/O was finished.
    Entered(Evidence, bool),
    NotEntered(NotEntered),
}

type Handle = VcpuHandle<ScriptedVcpu, Ask>;

struct Teller {
    seen: Sender<Seen>,
    handle: Option<Handle>,
    /// What comes after a brief entry.
    after: Flow,
}

impl Handler<ScriptedVcpu> for Teller {
    type Request = Ask;
    type Error = &'static str;

    fn exit(&mut self, exit: Exit<'_>) -> Result<Flow, &'static str> {
        let _ = self.seen.send(Seen::Exit(exit.kind()));
        match exit {
            Exit::Hlt => Ok(Flow::Halt),
            Exit::Shutdown => Ok(Flow::Stop),
            _ => Ok(Flow::Continue),
        }
    }

    fn request(&mut self, ask: Ask, _: &mut ScriptedVcpu) -> Result<Flow, &'static str> {
        let _ = self.seen.send(Seen::Asked(ask));
        match ask {
            Ask::Raise | Ask::RaiseLate => {
                self.handle
                    .as_ref()
                    .unwrap()
                    .request_immediate_exit()
                    .unwrap();
                Ok(Flow::Continue)
            }
            Ask::Look => Ok(Flow::Continue),
            Ask::GoOn => Ok(Flow::Runnable),
        }
    }

    fn immediate_exit(
        &mut self,
        result: &Result<ImmediateExit, NotEntered>,
        vcpu: &mut ScriptedVcpu,
    ) -> Result<Flow, &'static str> {
        let _ = self.seen.send(match result {
            Ok(report) => Seen::Entered(report.evidence, vcpu.io_is_finished()),
            Err(why) => Seen::NotEntered(why.clone()),
        });
        Ok(self.after)
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

fn runner(
    script: impl FnOnce(&Handle) -> Vec<Step>,
) -> (Runner<ScriptedVcpu, Teller>, Handle, Receiver<Seen>) {
    let (seen, receiver) = channel();
    let teller = Teller {
        seen,
        handle: None,
        after: Flow::Continue,
    };
    let mut runner = Runner::new(ScriptedVcpu::new([]), teller);
    let handle = runner.handle();
    runner.handler_mut().handle = Some(handle.clone());
    let script = script(&handle);
    runner.vcpu_mut().extend(script);
    (runner, handle, receiver)
}

fn makes(handle: &Handle, ask: Ask) -> Step {
    let handle = handle.clone();
    Step::meanwhile(move || handle.request(ask).unwrap())
}

#[test]
fn only_the_next_entry_is_brief() {
    let (runner, handle, seen) =
        runner(|_| vec![Step::spin(), Step::io_out(1, b"x"), Step::shutdown()]);
    handle.request_immediate_exit().unwrap();
    handle.request_immediate_exit().unwrap();
    let waiter = thread::spawn(move || {
        // In the guest by now, for good: the brief entry is behind it.
        while handle.statistics().entries < 2 {
            thread::yield_now();
        }
        assert_eq!(handle.statistics().immediate_exits, 1);
        handle.stop().unwrap();
    });
    let ended = runner.run();
    waiter.join().unwrap();
    assert!(matches!(ended.outcome, Outcome::Stopped));
    assert_eq!((ended.vcpu.brief_entries(), ended.vcpu.entries()), (1, 2));
    let seen: Vec<_> = seen.try_iter().collect();
    assert_eq!(seen, [Seen::Entered(Evidence::Counter, true)]);
}

/// The flaw of the kernel's first version: raised after requests were looked at, it was not seen, or
/// looped.
#[test]
fn one_that_a_handler_raises_holds_for_the_entry_that_comes() {
    for ask in [Ask::Raise, Ask::RaiseLate] {
        let (runner, handle, seen) = runner(|_| vec![Step::shutdown()]);
        handle.request(ask).unwrap();
        let ended = runner.run();
        assert!(matches!(ended.outcome, Outcome::Stopped));
        assert_eq!((ended.vcpu.brief_entries(), ended.vcpu.entries()), (1, 1));
        assert_eq!(seen.try_iter().next(), Some(Seen::Asked(ask)));
    }
}

#[test]
fn an_exit_of_the_guests_own_is_handled_first_and_its_io_finished() {
    let (runner, handle, seen) = runner(|handle| {
        vec![
            makes(handle, Ask::Raise),
            Step::mmio_write(0xffe, &[1]),
            Step::mmio_write(0x1000, &[2]).as_completion(),
            Step::shutdown(),
        ]
    });
    let ended = runner.run();
    assert!(matches!(ended.outcome, Outcome::Stopped));
    assert_eq!(ended.vcpu.brief_entries(), 1);
    assert_eq!(handle.statistics().immediate_exits, 1);
    let seen: Vec<_> = seen.try_iter().collect();
    assert_eq!(
        seen,
        [
            Seen::Asked(Ask::Raise),
            Seen::Exit(ExitKind::MmioWrite),
            Seen::Exit(ExitKind::MmioWrite),
            Seen::Entered(Evidence::Exit(ExitKind::MmioWrite), true),
            Seen::Exit(ExitKind::Shutdown),
        ]
    );
}

#[test]
fn pending_io_is_finished_before_and_is_no_entry() {
    let (runner, _handle, seen) = runner(|handle| {
        let handle = handle.clone();
        vec![
            Step::meanwhile(move || handle.request_immediate_exit().unwrap()),
            // The brief entry: a read, whose completion is one more exit.
            Step::io_in(0x60, 1),
            Step::io_in(0x61, 1).as_completion(),
            Step::shutdown(),
        ]
    });
    let ended = runner.run();
    assert_eq!(ended.vcpu.brief_entries(), 1);
    // The first, which the request ended; the brief one; that of the shutdown.
    assert_eq!(ended.vcpu.entries(), 3);
    let entered = seen
        .try_iter()
        .filter(|seen| matches!(seen, Seen::Entered(..)));
    assert_eq!(entered.count(), 1);
}

#[test]
fn an_exit_before_the_entry_leaves_it_to_be_made() {
    let (runner, handle, seen) = runner(|_| {
        vec![
            Step::mmio_read(0x1000, 4).before_entry(),
            Step::mmio_read(0x2000, 4).before_entry(),
            Step::spin(),
        ]
    });
    let thread = runner.spawn().unwrap();
    let report = handle.immediate_exit(soon()).unwrap();
    assert_eq!(report.evidence, Evidence::Counter);
    handle.stop().unwrap();
    let ended = thread.join().unwrap();
    assert_eq!(ended.vcpu.brief_entries(), 1);
    assert_eq!(
        seen.try_iter().collect::<Vec<_>>(),
        [
            Seen::Exit(ExitKind::MmioRead),
            Seen::Exit(ExitKind::MmioRead),
            Seen::Entered(Evidence::Counter, true),
        ]
    );
}

#[test]
fn who_waits_is_told_and_so_are_all_others_of_the_same_entry() {
    let (runner, handle, _seen) = runner(|_| vec![]);
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let handle = handle.clone();
            thread::spawn(move || handle.immediate_exit(soon()))
        })
        .collect();
    let thread = runner.spawn().unwrap();
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap().unwrap().instructions, Some(1));
    }
    // The guest spins in an entry by now; one more gets it out and in again.
    handle.immediate_exit(soon()).unwrap();
    let made = handle.statistics().immediate_exits;
    assert!((2..=5).contains(&made), "{made}");
    handle.stop().unwrap();
    thread.join().unwrap();
}

#[test]
fn a_guest_that_cannot_be_entered_is_said_to_be_so_and_goes_on() {
    let missed = NotEntered::Missed {
        attempts: 7,
        mechanism: "scripted",
    };
    let (runner, handle, seen) = runner(|_| vec![Step::not_entered(missed.clone()), Step::spin()]);
    // Before the first entry, which would pass over the step.
    handle.request(Ask::Raise).unwrap();
    let thread = runner.spawn().unwrap();
    assert_eq!(seen.recv().unwrap(), Seen::Asked(Ask::Raise));
    assert_eq!(seen.recv().unwrap(), Seen::NotEntered(missed));
    // The next one is a new one.
    handle.immediate_exit(soon()).unwrap();
    assert_eq!(seen.recv().unwrap(), Seen::Entered(Evidence::Counter, true));
    handle.stop().unwrap();
    thread.join().unwrap();
}

/// Who waits is told the reason.
#[test]
fn who_waits_for_an_entry_that_cannot_be_made_is_told_why() {
    let missed = NotEntered::Missed {
        attempts: 7,
        mechanism: "scripted",
    };
    // The wait has to begin before the guest is entered, which nobody can see: mostly it does.
    for _ in 0..100 {
        let (runner, handle, _seen) = runner(|_| vec![Step::not_entered(missed.clone())]);
        let paused = handle.begin_pause().unwrap();
        let thread = runner.spawn().unwrap();
        paused.wait(soon()).unwrap();
        let waiter = {
            let handle = handle.clone();
            thread::spawn(move || handle.immediate_exit(soon()))
        };
        thread::sleep(Duration::from_millis(5));
        handle.resume().unwrap();
        let result = waiter.join().unwrap();
        handle.stop().unwrap();
        thread.join().unwrap();
        if let Err(error) = result {
            let text = error.to_string();
            assert!(text.contains("not entered in 7 attempts"), "{text}");
            assert!(matches!(error, Error::NotEntered(why) if why == missed));
            return;
        }
    }
    panic!("the guest was always entered first");
}

#[test]
fn a_halted_guest_is_not_entered_until_it_goes_on() {
    let (runner, handle, seen) = runner(|_| vec![Step::hlt()]);
    let thread = runner.spawn().unwrap();
    assert_eq!(seen.recv().unwrap(), Seen::Exit(ExitKind::Hlt));
    let error = handle.immediate_exit(soon()).unwrap_err();
    assert!(
        matches!(error, Error::NotEntered(NotEntered::Halted)),
        "{error}"
    );
    assert_eq!(seen.recv().unwrap(), Seen::NotEntered(NotEntered::Halted));
    assert_eq!(handle.statistics().entries, 1);
    // Made runnable in the same pass, it is entered, whichever was asked for first.
    handle.pause(soon()).unwrap();
    handle.request_immediate_exit().unwrap();
    handle.request(Ask::GoOn).unwrap();
    handle.resume().unwrap();
    assert_eq!(seen.recv().unwrap(), Seen::Asked(Ask::GoOn));
    assert_eq!(seen.recv().unwrap(), Seen::Entered(Evidence::Counter, true));
    handle.stop().unwrap();
    thread.join().unwrap();
}

#[test]
fn a_paused_vcpu_enters_when_it_is_resumed() {
    let (runner, handle, seen) = runner(|_| vec![]);
    let asked = handle.begin_pause().unwrap();
    let thread = runner.spawn().unwrap();
    asked.wait(soon()).unwrap();
    let at_once = Deadline::after(Duration::from_millis(10));
    assert!(matches!(
        handle.immediate_exit(at_once),
        Err(Error::DeadlinePassed)
    ));
    assert!(seen.try_recv().is_err());
    handle.resume().unwrap();
    // It stayed asked for.
    assert_eq!(seen.recv().unwrap(), Seen::Entered(Evidence::Counter, true));
    handle.stop().unwrap();
    thread.join().unwrap();
}

#[test]
fn who_waits_hears_of_the_end() {
    let (mut runner, handle, _seen) = runner(|_| vec![]);
    runner.handler_mut().after = Flow::Stop;
    let thread = runner.spawn().unwrap();
    handle.immediate_exit(soon()).unwrap();
    thread.join().unwrap();
    assert!(matches!(
        handle.immediate_exit(soon()),
        Err(Error::Ended(Ending::Stopped))
    ));

    let (runner, handle, _seen) = runner_that_fails();
    let waiter = {
        let handle = handle.clone();
        thread::spawn(move || handle.immediate_exit(soon()))
    };
    while !handle.is_pending(Ask::Look) {
        handle.request(Ask::Look).unwrap();
    }
    let ended = runner.run();
    assert!(matches!(ended.outcome, Outcome::Error(Error::Run(_))));
    assert!(matches!(
        waiter.join().unwrap(),
        Err(Error::Ended(Ending::Failed))
    ));
}

fn runner_that_fails() -> (Runner<ScriptedVcpu, Teller>, Handle, Receiver<Seen>) {
    runner(|_| vec![Step::fail(libc::EFAULT)])
}

#[test]
fn a_handler_does_not_wait_for_itself() {
    let (runner, handle, _seen) = runner(|_| vec![]);
    let thread = runner.spawn().unwrap();
    let own = handle.clone();
    let waits = handle.call(soon(), move |_| own.immediate_exit(soon()));
    assert!(matches!(waits.unwrap(), Err(Error::OwnThread)));
    handle.stop().unwrap();
    thread.join().unwrap();
}
