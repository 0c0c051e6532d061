// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! KVM_RUN, the skip flag and the kick signal, as the protocol sees them.

use std::convert::Infallible;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use vcpu_requests::{Flags, Request};

use crate::control::Control;
use crate::gate::{Gate, Interrupt};
use crate::run_loop::RunLoop;
use crate::{
    BriefError, BriefRun, Error, Evidence, Exit, Flow, Handler, ImmediateExit, Injection,
    NotEntered, Outcome, RunError, SkipFlag, Vcpu,
};

/// What is asked in the models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Plain,
    Other,
    Wait,
}

impl Request for Ask {
    const MASK: u32 = 0b111;
    const NO_WAKEUP_MASK: u32 = 0;

    fn bit(self) -> u32 {
        self as u32
    }

    fn from_bit(bit: u32) -> Option<Self> {
        [Self::Plain, Self::Other, Self::Wait]
            .into_iter()
            .find(|ask| ask.bit() == bit)
    }

    fn flags(self) -> Flags {
        match self {
            Self::Plain | Self::Other => Flags::NONE,
            Self::Wait => Flags::WAIT,
        }
    }

    fn name(self) -> &'static str {
        "Ask"
    }
}

/// The skip flag. As weak as the real one: nothing but the byte.
#[derive(Clone)]
pub(super) struct Skip(Arc<AtomicBool>);

impl SkipFlag for Skip {
    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// A thread as the kernel sees it: a signal that meets it in KVM_RUN stays pending there and ends
/// it; one that meets it anywhere else runs the handler, which does nothing, and is gone.
#[derive(Clone)]
pub(super) struct Thread(Arc<(Mutex<Place>, Condvar)>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Elsewhere,
    InKvmRun,
    Signalled,
}

impl Interrupt for Thread {
    fn interrupt(&self) -> Result<(), Error> {
        let (place, signalled) = &*self.0;
        let mut place = place.lock().unwrap();
        if *place == Place::InKvmRun {
            *place = Place::Signalled;
            signalled.notify_one();
        }
        Ok(())
    }
}

/// A vCPU whose guest spins: nothing but a kick gets it out.
pub(super) struct Spinning {
    skip: Skip,
    thread: Thread,
}

impl Spinning {
    pub(super) fn new() -> Self {
        Self {
            skip: Skip(Arc::new(AtomicBool::new(false))),
            thread: Thread(Arc::new((Mutex::new(Place::Elsewhere), Condvar::new()))),
        }
    }

    pub(super) fn skip(&self) -> Skip {
        self.skip.clone()
    }

    pub(super) fn thread(&self) -> Thread {
        self.thread.clone()
    }

    /// KVM_RUN: into the kernel, a look at the flag, the guest until a signal is pending.
    pub(super) fn kvm_run(&self) {
        let (place, signalled) = &*self.thread.0;
        *place.lock().unwrap() = Place::InKvmRun;
        if !self.skip.0.load(Ordering::Relaxed) {
            let mut place = place.lock().unwrap();
            while *place != Place::Signalled {
                place = signalled.wait(place).unwrap();
            }
        }
        *place.lock().unwrap() = Place::Elsewhere;
    }
}

impl Vcpu for Spinning {
    type Skip = Skip;

    fn skip_flag(&self) -> std::sync::Arc<Skip> {
        std::sync::Arc::new(self.skip())
    }

    fn run(&mut self) -> Result<Exit<'_>, RunError> {
        self.kvm_run();
        Err(RunError::Interrupted)
    }

    /// The guest comes back by itself, if it is entered at all.
    fn run_briefly(&mut self) -> Result<BriefRun<'_>, BriefError> {
        if self.skip.0.load(Ordering::Relaxed) {
            return Err(BriefError::Skipped);
        }
        let report = ImmediateExit {
            evidence: Evidence::Counter,
            injection: Injection::Nothing,
            instructions: None,
            attempts: 1,
            mechanism: "model",
            time: std::time::Duration::ZERO,
        };
        Ok(BriefRun::Entered { report, exit: None })
    }
}

/// Counts requests and stops the loop after so many.
pub(super) struct StopAfter(pub(super) usize, pub(super) Arc<AtomicUsize>);

impl Handler<Spinning> for StopAfter {
    type Request = Ask;
    type Error = Infallible;

    fn exit(&mut self, _: Exit<'_>) -> Result<Flow, Infallible> {
        Ok(Flow::Continue)
    }

    fn request(&mut self, _: Ask, _: &mut Spinning) -> Result<Flow, Infallible> {
        let handled = self.1.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(if handled == self.0 {
            Flow::Stop
        } else {
            Flow::Continue
        })
    }

    fn needs_registers(&self, _: Ask) -> bool {
        false
    }

    /// Counts as much as a request.
    fn immediate_exit(
        &mut self,
        result: &Result<ImmediateExit, NotEntered>,
        vcpu: &mut Spinning,
    ) -> Result<Flow, Infallible> {
        assert!(result.is_ok(), "{result:?}");
        self.request(Ask::Plain, vcpu)
    }
}

pub(super) type SpinningGate = Gate<Ask, Skip, Thread>;

/// A spinning vCPU, its gate and its control.
pub(super) fn spinning() -> (Spinning, Arc<SpinningGate>, Arc<Control<Spinning>>) {
    let vcpu = Spinning::new();
    let gate = Arc::new(Gate::new(vcpu.skip(), vcpu.thread()));
    (vcpu, gate, Arc::new(Control::new()))
}

/// Runs the crate's own loop until `requests` requests were handled, and says how it ended.
pub(super) fn run_until(
    requests: usize,
    mut vcpu: Spinning,
    gate: &SpinningGate,
    control: &Control<Spinning>,
) -> Outcome<Infallible> {
    let mut handler = StopAfter(requests, Arc::new(AtomicUsize::new(0)));
    control.begin();
    RunLoop::new(&mut vcpu, &mut handler, gate, control).run()
}

/// All orders with at most `preemptions` involuntary switches; what is found with more of them is
/// found with few already, in practice, and the rest takes days.
pub(super) fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}
