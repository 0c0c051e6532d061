// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The loop's rules, on a vCPU that follows a script.

#![allow(clippy::unwrap_used, clippy::panic)] // A test that fails panics.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vcpu_requests::requests;
use vcpu_runner::scripted::{ScriptedVcpu, Step};
use vcpu_runner::{
    Deadline, Ending, Error, Exit, ExitKind, Flow, Handler, Outcome, Phase, Runner, VcpuHandle,
    pause_all, stop_all,
};

requests! {
    /// What the tests ask.
    pub enum Ask {
        /// Does not look at registers.
        Light = 0,
        /// Looks at registers, so that I/O has to be finished.
        Registers = 1,
        /// Raises `Again` from its own handling, then `Light`, whose turn is over by then.
        Raise = 4,
        /// Raised by `Raise`.
        Again = 5,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Exit(ExitKind),
    Asked(Ask, bool),
    Inspected,
}

/// Tells what it sees, and answers exits with what it is told.
struct Teller {
    seen: Sender<Seen>,
    answer: fn(&Exit<'_>) -> Result<Flow, &'static str>,
    handle: Option<VcpuHandle<ScriptedVcpu, Ask>>,
}

impl Teller {
    fn new(answer: fn(&Exit<'_>) -> Result<Flow, &'static str>) -> (Self, Receiver<Seen>) {
        let (seen, receiver) = channel();
        let teller = Self {
            seen,
            answer,
            handle: None,
        };
        (teller, receiver)
    }

    fn make(&self, ask: Ask) {
        self.handle.as_ref().unwrap().request(ask).unwrap();
    }
}

fn go_on(_: &Exit<'_>) -> Result<Flow, &'static str> {
    Ok(Flow::Continue)
}

impl Handler<ScriptedVcpu> for Teller {
    type Request = Ask;
    type Error = &'static str;

    fn exit(&mut self, exit: Exit<'_>) -> Result<Flow, &'static str> {
        let _ = self.seen.send(Seen::Exit(exit.kind()));
        (self.answer)(&exit)
    }

    fn request(&mut self, ask: Ask, vcpu: &mut ScriptedVcpu) -> Result<Flow, &'static str> {
        let _ = self.seen.send(Seen::Asked(ask, vcpu.io_is_finished()));
        if ask == Ask::Raise {
            self.make(Ask::Again);
            self.make(Ask::Light);
        }
        Ok(Flow::Continue)
    }

    fn needs_registers(&self, ask: Ask) -> bool {
        ask == Ask::Registers
    }

    fn inspect(&mut self, _: &mut ScriptedVcpu) -> Result<Flow, &'static str> {
        let _ = self.seen.send(Seen::Inspected);
        Ok(Flow::Continue)
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

/// Runs `script` on this thread; a handle is made before, for the script's own use.
fn run(
    script: impl FnOnce(VcpuHandle<ScriptedVcpu, Ask>) -> Vec<Step>,
    answer: fn(&Exit<'_>) -> Result<Flow, &'static str>,
) -> (Vec<Seen>, Outcome<&'static str>, ScriptedVcpu) {
    let (teller, seen) = Teller::new(answer);
    let mut runner = Runner::new(ScriptedVcpu::new([]), teller);
    let handle = runner.handle();
    runner.handler_mut().handle = Some(handle.clone());
    runner.vcpu_mut().extend(script(handle));
    let ended = runner.run();
    (seen.try_iter().collect(), ended.outcome, ended.vcpu)
}

fn makes(handle: &VcpuHandle<ScriptedVcpu, Ask>, asks: &'static [Ask]) -> Step {
    let handle = handle.clone();
    Step::meanwhile(move || {
        for &ask in asks {
            handle.request(ask).unwrap();
        }
    })
}

fn stops(handle: &VcpuHandle<ScriptedVcpu, Ask>) -> Step {
    let handle = handle.clone();
    Step::meanwhile(move || handle.stop().unwrap())
}

#[test]
fn io_is_finished_only_for_who_looks_at_registers() {
    let script = |handle| {
        vec![
            Step::mmio_write(0xffe, &[1, 2]),
            Step::mmio_write(0x1000, &[3, 4]).as_completion(),
            makes(&handle, &[Ask::Light]),
            Step::io_in(0x60, 1),
            stops(&handle),
        ]
    };
    let (seen, outcome, _) = run(script, go_on);
    assert!(matches!(outcome, Outcome::Stopped));
    assert_eq!(
        seen,
        [
            Seen::Exit(ExitKind::MmioWrite),
            Seen::Exit(ExitKind::MmioWrite),
            Seen::Asked(Ask::Light, true),
            Seen::Exit(ExitKind::IoIn),
        ]
    );
}

#[test]
fn what_finishing_io_brings_is_dispatched_before_the_request() {
    /// Asks for the registers at the first half of a write.
    struct AskInTheMiddle(Teller);

    impl Handler<ScriptedVcpu> for AskInTheMiddle {
        type Request = Ask;
        type Error = &'static str;

        fn exit(&mut self, exit: Exit<'_>) -> Result<Flow, &'static str> {
            if matches!(exit, Exit::MmioWrite { address: 0xffe, .. }) {
                self.0.make(Ask::Light);
                self.0.make(Ask::Registers);
            }
            self.0.exit(exit)
        }

        fn request(&mut self, ask: Ask, vcpu: &mut ScriptedVcpu) -> Result<Flow, &'static str> {
            self.0.request(ask, vcpu)
        }

        fn needs_registers(&self, ask: Ask) -> bool {
            self.0.needs_registers(ask)
        }
    }

    let (teller, seen) = Teller::new(go_on);
    let mut runner = Runner::new(ScriptedVcpu::new([]), AskInTheMiddle(teller));
    let handle = runner.handle();
    runner.handler_mut().0.handle = Some(handle.clone());
    runner.vcpu_mut().extend([
        Step::mmio_write(0xffe, &[1, 2]),
        Step::mmio_write(0x1000, &[3, 4]).as_completion(),
        stops(&handle),
    ]);
    assert!(matches!(runner.run().outcome, Outcome::Stopped));
    assert_eq!(
        seen.try_iter().collect::<Vec<_>>(),
        [
            Seen::Exit(ExitKind::MmioWrite),
            Seen::Asked(Ask::Light, false),
            Seen::Exit(ExitKind::MmioWrite),
            Seen::Asked(Ask::Registers, true),
        ]
    );
}

#[test]
fn a_request_raised_after_its_turn_takes_effect_in_the_same_entry() {
    let script = |handle| vec![makes(&handle, &[Ask::Light, Ask::Raise]), stops(&handle)];
    let (seen, _, vcpu) = run(script, go_on);
    assert_eq!(
        seen,
        [
            Seen::Asked(Ask::Light, true),
            Seen::Asked(Ask::Raise, true),
            // Light's turn of this pass was over, Again's was to come: both before the guest.
            Seen::Asked(Ask::Light, true),
            Seen::Asked(Ask::Again, true),
        ]
    );
    assert_eq!(vcpu.entries(), 2);
}

#[test]
fn a_read_gets_its_answer() {
    struct Answers(Teller);

    impl Handler<ScriptedVcpu> for Answers {
        type Request = Ask;
        type Error = &'static str;

        fn exit(&mut self, exit: Exit<'_>) -> Result<Flow, &'static str> {
            match exit {
                Exit::IoIn { data, .. } | Exit::MmioRead { data, .. } => data.fill(7),
                _ => {}
            }
            Ok(Flow::Continue)
        }

        fn request(&mut self, ask: Ask, vcpu: &mut ScriptedVcpu) -> Result<Flow, &'static str> {
            self.0.request(ask, vcpu)
        }
    }

    let (teller, _seen) = Teller::new(go_on);
    let mut runner = Runner::new(ScriptedVcpu::new([]), Answers(teller));
    let handle = runner.handle();
    runner
        .vcpu_mut()
        .extend([Step::io_in(1, 2), Step::mmio_read(2, 4), stops(&handle)]);
    let ended = runner.run();
    assert_eq!(ended.vcpu.answers(), [vec![7; 2], vec![7; 4]]);
}

#[test]
fn exits_without_registers_can_be_inspected() {
    let script = |handle| vec![Step::internal_error(1, &[]), stops(&handle)];
    let (seen, ..) = run(script, |_| Ok(Flow::Inspect));
    assert_eq!(seen, [Seen::Exit(ExitKind::InternalError), Seen::Inspected]);
}

#[test]
fn kvm_run_that_fails_ends_the_thread() {
    for errno in [libc::EFAULT, libc::EINVAL, libc::EIO] {
        let (seen, outcome, _) = run(|_| vec![Step::again(), Step::fail(errno)], go_on);
        assert_eq!(seen, []);
        match outcome {
            Outcome::Error(Error::Run(source)) => {
                assert_eq!(source.raw_os_error(), Some(errno));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_handler_that_fails_ends_the_thread() {
    let (seen, outcome, _) = run(|_| vec![Step::shutdown()], |_| Err("triple fault"));
    assert_eq!(seen, [Seen::Exit(ExitKind::Shutdown)]);
    assert!(matches!(outcome, Outcome::Handler("triple fault")));
}

#[test]
fn io_that_does_not_end_is_an_error() {
    let (teller, _seen) = Teller::new(go_on);
    let mut runner = Runner::new(ScriptedVcpu::new([]), teller);
    // Made before the start, when there may be I/O of a state that was restored: it is finished
    // first, and this vCPU's never is.
    runner.handle().request(Ask::Registers).unwrap();
    runner
        .vcpu_mut()
        .extend((0..5000).map(|_| Step::io_out(1, b"a").as_completion()));
    runner.vcpu_mut().leave_io_pending();
    let ended = runner.run();
    assert!(matches!(
        ended.outcome,
        Outcome::Error(Error::IoWithoutEnd { .. })
    ));
    assert!(ended.vcpu.steps_left() > 0);
}

#[test]
fn its_own_thread_cannot_wait_for_itself() {
    let script = |handle: VcpuHandle<ScriptedVcpu, Ask>| {
        let own = handle.clone();
        let waits = Step::meanwhile(move || {
            assert!(matches!(own.pause(soon()), Err(Error::OwnThread)));
            assert!(matches!(own.wait(soon()), Err(Error::OwnThread)));
            assert!(matches!(own.call(soon(), |_| ()), Err(Error::OwnThread)));
        });
        vec![waits, stops(&handle)]
    };
    let (_, outcome, _) = run(script, go_on);
    assert!(matches!(outcome, Outcome::Stopped), "{outcome:?}");
}

#[test]
fn a_pause_can_be_taken_back_and_asked_for_again() {
    let (teller, _seen) = Teller::new(go_on);
    let runner = Runner::new(ScriptedVcpu::new([]), teller);
    let handle = runner.handle();
    let asked = handle.begin_pause().unwrap();
    handle.resume().unwrap();
    assert!(matches!(asked.wait(soon()), Err(Error::PauseTakenBack)));
    let asked = handle.begin_pause().unwrap();
    assert!(matches!(
        asked.wait(Deadline::after(Duration::ZERO)),
        Err(Error::DeadlinePassed)
    ));
    let thread = runner.spawn().unwrap();
    asked.wait(soon()).unwrap();
    handle.pause(soon()).unwrap();
    handle.resume().unwrap();
    handle.stop().unwrap();
    thread.join().unwrap();
}

/// Waits until `condition` holds, which it must.
fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "it never did");
        std::thread::yield_now();
    }
}

#[test]
fn a_deadline_that_passes_leaves_the_pause_asked_for() {
    /// Holds the vCPU in its exit until it is let go on.
    struct Held(Receiver<()>);

    impl Handler<ScriptedVcpu> for Held {
        type Request = Ask;
        type Error = &'static str;

        fn exit(&mut self, _: Exit<'_>) -> Result<Flow, &'static str> {
            self.0.recv().map_err(|_| "the test is over")?;
            Ok(Flow::Continue)
        }

        fn request(&mut self, _: Ask, _: &mut ScriptedVcpu) -> Result<Flow, &'static str> {
            Ok(Flow::Continue)
        }
    }

    let (go_on, held) = channel();
    let thread = Runner::new(ScriptedVcpu::new([Step::hlt()]), Held(held))
        .spawn()
        .unwrap();
    let handle = thread.handle();
    wait_until(|| handle.statistics().exits_of(ExitKind::Hlt) == 1);
    assert!(matches!(
        handle.pause(Deadline::after(Duration::from_millis(1))),
        Err(Error::DeadlinePassed)
    ));
    go_on.send(()).unwrap();
    // Nobody asks again.
    wait_until(|| matches!(handle.phase(), Phase::Paused));
    handle.stop().unwrap();
    thread.join().unwrap();
}

#[test]
fn closures_that_keep_coming_keep_nothing_else_waiting() {
    let (teller, _seen) = Teller::new(go_on);
    let thread = Runner::new(ScriptedVcpu::new([]), teller).spawn().unwrap();
    let handle = thread.handle();
    let called = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let slow = |_: &mut ScriptedVcpu| std::thread::sleep(Duration::from_millis(1));
                while handle.call(soon(), slow).is_ok() {
                    called.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        wait_until(|| called.load(Ordering::Relaxed) > 20);
        handle.pause(soon()).unwrap();
        handle.resume().unwrap();
        handle.stop().unwrap();
        assert!(matches!(handle.wait(soon()), Ok(Ending::Stopped)));
    });
    thread.join().unwrap();
}

#[test]
fn a_dropped_runner_tells_so_before_its_handler_goes() {
    /// Waits, when it is dropped, for a worker that waits for the vCPU.
    struct Joins(Option<JoinHandle<Result<(), Error>>>);

    impl Drop for Joins {
        fn drop(&mut self) {
            let answer = self.0.take().map(JoinHandle::join);
            assert!(matches!(
                answer,
                Some(Ok(Err(Error::Ended(Ending::NeverRan))))
            ));
        }
    }

    impl Handler<ScriptedVcpu> for Joins {
        type Request = Ask;
        type Error = &'static str;

        fn exit(&mut self, _: Exit<'_>) -> Result<Flow, &'static str> {
            Ok(Flow::Continue)
        }

        fn request(&mut self, _: Ask, _: &mut ScriptedVcpu) -> Result<Flow, &'static str> {
            Ok(Flow::Continue)
        }
    }

    let mut runner = Runner::new(ScriptedVcpu::new([]), Joins(None));
    let handle = runner.handle();
    runner.handler_mut().0 = Some(std::thread::spawn(move || {
        handle.call(Deadline::NEVER, |_| ())
    }));
    drop(runner);
}

#[test]
fn on_its_own_thread_nothing_is_paused() {
    let script = |handle: VcpuHandle<ScriptedVcpu, Ask>| {
        let own = handle.clone();
        let pauses = Step::meanwhile(move || {
            let all = [own.clone()];
            for refused in [pause_all(&all, soon()), stop_all(&all, soon())] {
                assert!(matches!(
                    refused,
                    Err(Error::OneOfMany { index: 0, source }) if matches!(*source, Error::OwnThread)
                ));
            }
        });
        // Were it paused, it would not come to the exit.
        vec![pauses, Step::hlt(), stops(&handle)]
    };
    let (seen, outcome, _) = run(script, go_on);
    assert!(matches!(outcome, Outcome::Stopped), "{outcome:?}");
    assert_eq!(seen, [Seen::Exit(ExitKind::Hlt)]);
}

#[test]
fn after_the_end_the_thread_is_its_callers_again() {
    let (teller, _seen) = Teller::new(go_on);
    let mut runner = Runner::new(ScriptedVcpu::new([]), teller);
    let handle = runner.handle();
    runner.vcpu_mut().extend([stops(&handle)]);
    drop(runner.run());
    assert!(matches!(handle.wait(soon()), Ok(Ending::Stopped)));
    assert!(matches!(handle.pause(soon()), Err(Error::Ended(_))));
}

#[test]
fn what_an_error_leaves_unhandled_stays_pending() {
    /// Fails at the first request.
    struct Fails;

    impl Handler<ScriptedVcpu> for Fails {
        type Request = Ask;
        type Error = &'static str;

        fn exit(&mut self, _: Exit<'_>) -> Result<Flow, &'static str> {
            Ok(Flow::Continue)
        }

        fn request(&mut self, _: Ask, _: &mut ScriptedVcpu) -> Result<Flow, &'static str> {
            Err("not now")
        }
    }

    let runner = Runner::new(ScriptedVcpu::new([]), Fails);
    let handle = runner.handle();
    handle.request(Ask::Light).unwrap();
    handle.request(Ask::Again).unwrap();
    assert!(matches!(runner.run().outcome, Outcome::Handler("not now")));
    assert!(!handle.is_pending(Ask::Light));
    assert!(handle.is_pending(Ask::Again));
}

#[test]
fn a_halted_vcpu_pauses_and_stays_halted() {
    let (teller, seen) = Teller::new(|exit| match exit {
        Exit::Hlt => Ok(Flow::Halt),
        _ => Ok(Flow::Continue),
    });
    let script = [Step::hlt(), Step::shutdown()];
    let thread = Runner::new(ScriptedVcpu::new(script), teller)
        .spawn()
        .unwrap();
    let handle = thread.handle();
    wait_until(|| handle.statistics().exits_of(ExitKind::Hlt) == 1);
    for _ in 0..100 {
        handle.pause(soon()).unwrap();
        assert!(handle.call(soon(), |vcpu| vcpu.io_is_finished()).unwrap());
        handle.resume().unwrap();
    }
    handle.stop().unwrap();
    thread.join().unwrap();
    assert_eq!(
        seen.try_iter().collect::<Vec<_>>(),
        [Seen::Exit(ExitKind::Hlt)]
    );
}

#[test]
fn directors_who_disagree_leave_a_vcpu_that_can_be_stopped() {
    let (teller, _seen) = Teller::new(go_on);
    let thread = Runner::new(ScriptedVcpu::new([]), teller).spawn().unwrap();
    let handle = thread.handle();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..500 {
                    match handle.pause(soon()) {
                        Ok(()) | Err(Error::PauseTakenBack) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            scope.spawn(|| {
                for _ in 0..500 {
                    handle.resume().unwrap();
                    std::thread::yield_now();
                }
            });
        }
    });
    handle.stop().unwrap();
    assert!(matches!(handle.wait(soon()), Ok(Ending::Stopped)));
    thread.join().unwrap();
}

#[test]
fn closures_run_with_io_finished_also_while_paused() {
    let (teller, _seen) = Teller::new(go_on);
    let thread = Runner::new(ScriptedVcpu::new([Step::io_in(1, 1)]), teller)
        .name("vcpu0")
        .spawn()
        .unwrap();
    let handle = thread.handle();
    assert!(handle.call(soon(), |vcpu| vcpu.io_is_finished()).unwrap());
    handle.pause(soon()).unwrap();
    let name = handle
        .call(soon(), |_| std::thread::current().name().map(String::from))
        .unwrap();
    assert_eq!(name.as_deref(), Some("vcpu0"));
    assert!(matches!(handle.phase(), Phase::Paused));
    handle.stop().unwrap();
    thread.join().unwrap();
}

#[test]
fn a_name_that_no_thread_can_have_is_refused() {
    let (teller, _seen) = Teller::new(go_on);
    let runner = Runner::new(ScriptedVcpu::new([]), teller).name("vcpu\0");
    let handle = runner.handle();
    assert!(matches!(runner.spawn(), Err(Error::Spawn(_))));
    assert!(matches!(handle.wait(soon()), Ok(Ending::NeverRan)));
}
