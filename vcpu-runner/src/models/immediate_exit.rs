// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The next entry is brief when an immediate exit was asked for before it, from wherever. The guest of
//! these models spins: an entry that should have been brief and is not never ends, which loom reports
//! as a deadlock.

use std::convert::Infallible;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use super::broken::loom_must_catch;
use super::machine::{Ask, Spinning, SpinningGate, check, run_until, spinning};
use crate::loop_request::LoopRequest::{self, User};
use crate::run_loop::RunLoop;
use crate::{Exit, Flow, Handler, ImmediateExit, NotEntered};

#[test]
fn one_that_is_asked_for_at_any_time_is_made() {
    check(7, || {
        let (vcpu, gate, control) = spinning();
        let maker = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.make(LoopRequest::ImmediateExit).unwrap())
        };
        run_until(1, vcpu, &gate, &control);
        maker.join().unwrap();
        assert_eq!(gate.counters().snapshot().immediate_exits, 1);
    });
}

/// A kick for something else may skip the brief entry: it is made afterwards.
#[test]
fn a_kick_does_not_take_its_place() {
    check(4, || {
        let (vcpu, gate, control) = spinning();
        let maker = |request| {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.make(request).unwrap())
        };
        let makers = [maker(LoopRequest::ImmediateExit), maker(User(Ask::Plain))];
        run_until(2, vcpu, &gate, &control);
        for maker in makers {
            maker.join().unwrap();
        }
        assert_eq!(gate.counters().snapshot().immediate_exits, 1);
    });
}

/// Asks for an immediate exit when it is asked something, as L0 does that finds an event for L1 while
/// L1 enters L2, and ends the loop after so many of them.
struct Raises {
    gate: Arc<SpinningGate>,
    left: usize,
}

impl Handler<Spinning> for Raises {
    type Request = Ask;
    type Error = Infallible;

    fn exit(&mut self, _: Exit<'_>) -> Result<Flow, Infallible> {
        Ok(Flow::Continue)
    }

    fn request(&mut self, _: Ask, _: &mut Spinning) -> Result<Flow, Infallible> {
        let _ = self.gate.make(LoopRequest::ImmediateExit);
        Ok(Flow::Continue)
    }

    fn needs_registers(&self, _: Ask) -> bool {
        false
    }

    fn immediate_exit(
        &mut self,
        _: &Result<ImmediateExit, NotEntered>,
        _: &mut Spinning,
    ) -> Result<Flow, Infallible> {
        self.left -= 1;
        if self.left == 0 {
            return Ok(Flow::Stop);
        }
        // Once more, from behind its own turn.
        let _ = self.gate.make(LoopRequest::ImmediateExit);
        Ok(Flow::Continue)
    }
}

/// The flaw of the kernel's first version: a handler raises it after it was looked for.
#[test]
fn one_that_a_handler_raises_after_it_was_checked_holds_for_the_same_entry() {
    check(5, || {
        let (mut vcpu, gate, control) = spinning();
        let maker = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || {
                // Its turn comes last in a pass; the second request brings one more pass.
                gate.make(LoopRequest::ImmediateExit).unwrap();
                gate.make(User(Ask::Plain)).unwrap();
            })
        };
        let mut handler = Raises {
            gate: Arc::clone(&gate),
            left: 2,
        };
        control.begin();
        RunLoop::new(&mut vcpu, &mut handler, &gate, &control).run();
        maker.join().unwrap();
        // It ended, so nothing was lost; and two entries were all that it took: no round was made
        // for nothing.
        assert_eq!(gate.counters().snapshot().immediate_exits, 2);
    });
}

// ---- broken variants, which loom must catch ----

/// A loop that looks for the immediate exit at one of two places, with the wish kept where `wish`
/// says; its handler, like L0's, raises the wish while it handles a request.
fn loop_that_looks(wish: Wish) {
    check(7, move || {
        let (vcpu, gate, _) = spinning();
        let beside = Arc::new(AtomicBool::new(false));
        let maker = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.make(User(Ask::Plain)).unwrap())
        };
        let raise = || match wish {
            Wish::InTheWord => drop(gate.requests().make(LoopRequest::ImmediateExit)),
            Wish::BesideIt => beside.store(true, Ordering::Relaxed),
        };
        let mut brief = false;
        loop {
            gate.open();
            brief |= match wish {
                Wish::InTheWord => gate.requests().check(LoopRequest::ImmediateExit),
                Wish::BesideIt => beside.swap(false, Ordering::Relaxed),
            };
            if gate.requests().check(User(Ask::Plain)) {
                raise();
            }
            // Refused where the word has the wish, which then is seen in the next round.
            match gate.pass(|| {
                if !brief {
                    vcpu.kvm_run()
                }
            }) {
                Ok(_) if brief => break,
                _ => {}
            }
        }
        maker.join().unwrap();
    });
}

#[derive(Clone, Copy)]
enum Wish {
    InTheWord,
    BesideIt,
}

#[test]
fn a_wish_in_the_word_is_seen_though_it_was_checked() {
    loop_that_looks(Wish::InTheWord);
}

loom_must_catch!(a_wish_beside_the_word_misses_its_entry, "deadlock", {
    loop_that_looks(Wish::BesideIt);
});
