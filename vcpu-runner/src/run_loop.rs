// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The loop: clear the skip flag, handle requests to a fixed point, enter, leave, dispatch the exit.

use crate::control::{Answer, Control, Paused};
use crate::gate::{Gate, Interrupt};
use crate::loop_request::LoopRequest;
use crate::{
    BriefError, BriefRun, Error, Exit, Flow, Handler, ImmediateExit, NotEntered as NoEntry,
    Outcome, RunError, SkipFlag, Vcpu,
};

use std::mem;

use vcpu_requests::NotEntered;

/// Exits that finishing the I/O of one exit may bring. KVM splits an access at page borders and into
/// eight bytes a piece; the longest instruction operand (a 512-byte FXSAVE area) makes 65.
const MOST_COMPLETIONS: u32 = 1024;

/// Whether the I/O of the last exit is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Io {
    /// The registers are those that the guest sees.
    Finished,
    /// There was an exit since; KVM may still have to put data into registers or memory.
    MayPend,
}

/// What the guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    Runnable,
    Halted,
}

/// What the next entry is to be like.
enum Entry {
    /// The guest runs until it exits.
    Usual,
    /// An immediate exit, for those who wait for it.
    Brief(Vec<Answer>),
}

/// Why the loop goes no further.
enum Leave<E> {
    Stopped,
    Handler(E),
    Error(Error),
}

impl<E> From<Error> for Leave<E> {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl<E> From<Leave<E>> for Outcome<E> {
    fn from(leave: Leave<E>) -> Self {
        match leave {
            Leave::Stopped => Self::Stopped,
            Leave::Handler(error) => Self::Handler(error),
            Leave::Error(error) => Self::Error(error),
        }
    }
}

pub(crate) struct RunLoop<'a, V: Vcpu, H: Handler<V>, S, T> {
    pub(crate) vcpu: &'a mut V,
    pub(crate) handler: &'a mut H,
    pub(crate) gate: &'a Gate<H::Request, S, T>,
    pub(crate) control: &'a Control<V>,
    io: Io,
    activity: Activity,
    next: Entry,
}

impl<'a, V, H, S, T> RunLoop<'a, V, H, S, T>
where
    V: Vcpu,
    H: Handler<V>,
    S: SkipFlag,
    T: Interrupt,
{
    pub(crate) fn new(
        vcpu: &'a mut V,
        handler: &'a mut H,
        gate: &'a Gate<H::Request, S, T>,
        control: &'a Control<V>,
    ) -> Self {
        Self {
            vcpu,
            handler,
            gate,
            control,
            // A vCPU whose state was just restored may have I/O to finish.
            io: Io::MayPend,
            activity: Activity::Runnable,
            next: Entry::Usual,
        }
    }

    /// Runs the vCPU until there is a reason not to.
    pub(crate) fn run(mut self) -> Outcome<H::Error> {
        self.gate.open();
        loop {
            if let Err(leave) = self.pass() {
                return leave.into();
            }
        }
    }

    /// One time around.
    fn pass(&mut self) -> Result<(), Leave<H::Error>> {
        match (self.activity, &self.next) {
            (Activity::Runnable, Entry::Usual) => self.enter(),
            (Activity::Runnable, Entry::Brief(_)) => self.enter_briefly(),
            (Activity::Halted, _) => {
                self.handle_requests()?;
                self.stay_halted()
            }
        }
    }

    /// Sleeps, unless a request was handled that has made the guest runnable.
    fn stay_halted(&mut self) -> Result<(), Leave<H::Error>> {
        match (self.activity, &self.next) {
            (Activity::Runnable, _) => Ok(()),
            // Somebody has injected without saying so: a closure cannot.
            (Activity::Halted, Entry::Brief(_)) if self.vcpu.has_event() => {
                self.activity = Activity::Runnable;
                Ok(())
            }
            (Activity::Halted, Entry::Brief(_)) => self.conclude(Err(NoEntry::Halted)),
            (Activity::Halted, Entry::Usual) => match self.gate.sleep() {
                Ok(()) | Err(NotEntered::Pending(_)) => Ok(()),
                Err(NotEntered::Busy(mode)) => Err(Error::TwoLoops { mode }.into()),
            },
        }
    }

    /// Enters the guest, or handles the requests that are in the way. To try is the one look at
    /// requests that an entry takes of which nothing is asked.
    fn enter(&mut self) -> Result<(), Leave<H::Error>> {
        let stay = match self.gate.enter() {
            Ok(stay) => stay,
            Err(NotEntered::Pending(_)) => return self.handle_requests(),
            Err(NotEntered::Busy(mode)) => return Err(Error::TwoLoops { mode }.into()),
        };
        let ran = self.vcpu.run();
        let left = stay.leave();
        let shut = match ran {
            Ok(exit) => {
                self.io = Io::MayPend;
                let flow = dispatch(self.gate, self.handler, exit)?;
                self.follow(flow)?;
                left.kicked
            }
            Err(RunError::Interrupted) => {
                self.io = Io::Finished;
                self.count_interrupted(left.kicked);
                true
            }
            Err(RunError::Again) => left.kicked,
            Err(RunError::Failed(errno)) => return Err(Error::run(errno).into()),
            Err(RunError::Defect(defect)) => return Err(Error::RunArea(defect).into()),
        };
        if shut {
            self.gate.open();
        }
        Ok(())
    }

    /// Like [`Self::enter`], for as little as possible. That it is brief was decided before, by a
    /// request; it stays so until the guest was entered or cannot be.
    fn enter_briefly(&mut self) -> Result<(), Leave<H::Error>> {
        // Finished when the request was handled, unless there was an exit since.
        self.finish_io()?;
        if self.activity == Activity::Halted {
            // What that brought has halted it.
            return Ok(());
        }
        let stay = match self.gate.enter() {
            Ok(stay) => stay,
            Err(NotEntered::Pending(_)) => return self.handle_requests(),
            Err(NotEntered::Busy(mode)) => return Err(Error::TwoLoops { mode }.into()),
        };
        let ran = self.vcpu.run_briefly();
        let left = stay.leave();
        let result = match ran {
            Ok(BriefRun::Before(exit)) => {
                self.io = Io::MayPend;
                let flow = dispatch(self.gate, self.handler, exit)?;
                self.follow(flow)?;
                None
            }
            Ok(BriefRun::Entered { report, exit }) => {
                self.gate.counters().immediate_exits.count();
                if let Some(exit) = exit {
                    self.io = Io::MayPend;
                    let flow = dispatch(self.gate, self.handler, exit)?;
                    self.follow(flow)?;
                }
                Some(Ok(report))
            }
            // Kicked out before the guest was entered: requests first, then once more.
            Err(BriefError::Skipped) => {
                self.count_interrupted(left.kicked);
                None
            }
            Err(BriefError::NotEntered(why)) => Some(Err(why)),
            Err(BriefError::State(errno)) => return Err(Error::vcpu_state(errno).into()),
            Err(BriefError::Run(RunError::Interrupted | RunError::Again)) => None,
            Err(BriefError::Run(RunError::Failed(errno))) => return Err(Error::run(errno).into()),
            Err(BriefError::Run(RunError::Defect(defect))) => {
                return Err(Error::RunArea(defect).into());
            }
        };
        // A late kick's flag, too, is seen by a brief entry, which then skips.
        self.gate.open();
        match result {
            Some(result) => self.conclude(result),
            None => Ok(()),
        }
    }

    /// The immediate exit that was asked for is over: the next entry is as usual again.
    fn conclude(&mut self, result: Result<ImmediateExit, NoEntry>) -> Result<(), Leave<H::Error>> {
        let Entry::Brief(answers) = mem::replace(&mut self.next, Entry::Usual) else {
            return Ok(());
        };
        self.finish_io()?;
        let flow = self
            .handler
            .immediate_exit(&result, self.vcpu)
            .map_err(Leave::Handler)?;
        for answer in answers {
            answer(&result);
        }
        self.follow(flow)
    }

    fn count_interrupted(&self, kicked: bool) {
        self.gate.counters().interrupted.count();
        if !kicked {
            self.gate.counters().stray.count();
        }
    }

    /// Handles requests until none is left, also those that handling them makes.
    ///
    /// Each is cleared just before it is handled, not all at once and not before I/O is finished for
    /// it: one that is made again until then is the same one, and one that an error leaves unhandled
    /// stays pending.
    fn handle_requests(&mut self) -> Result<(), Leave<H::Error>> {
        loop {
            let pending = self.gate.requests().pending_set();
            if pending.is_empty() {
                return Ok(());
            }
            for request in pending.iter() {
                if self.needs_registers(request) {
                    self.finish_io()?;
                }
                if self.gate.requests().check(request) {
                    self.handle(request)?;
                }
            }
        }
    }

    fn needs_registers(&self, request: LoopRequest<H::Request>) -> bool {
        match request {
            LoopRequest::User(request) => self.handler.needs_registers(request),
            LoopRequest::Call | LoopRequest::Pause | LoopRequest::ImmediateExit => true,
            LoopRequest::Kick | LoopRequest::Stop => false,
        }
    }

    fn handle(&mut self, request: LoopRequest<H::Request>) -> Result<(), Leave<H::Error>> {
        match request {
            LoopRequest::User(request) => {
                let flow = self
                    .handler
                    .request(request, self.vcpu)
                    .map_err(Leave::Handler)?;
                self.follow(flow)
            }
            // It leaves no bit to find.
            LoopRequest::Kick => Ok(()),
            LoopRequest::Call => {
                for call in self.control.take_calls() {
                    call(self.vcpu);
                }
                Ok(())
            }
            LoopRequest::Pause => self.pause(),
            LoopRequest::Stop => Err(Leave::Stopped),
            LoopRequest::ImmediateExit => {
                let new = self.control.take_answers();
                match &mut self.next {
                    Entry::Usual => self.next = Entry::Brief(new),
                    Entry::Brief(answers) => answers.extend(new),
                }
                Ok(())
            }
        }
    }

    /// Stays here for as long as a pause is asked for.
    fn pause(&mut self) -> Result<(), Leave<H::Error>> {
        loop {
            match self.control.pause() {
                Paused::Call(call) => call(self.vcpu),
                Paused::Resume => return Ok(()),
                Paused::Stop => return Err(Leave::Stopped),
            }
        }
    }

    /// Finishes pending I/O without entering the guest, so that the registers are those that the
    /// guest sees. That may bring further exits, which are dispatched like any others.
    fn finish_io(&mut self) -> Result<(), Leave<H::Error>> {
        if self.io == Io::Finished {
            return Ok(());
        }
        self.gate.shut();
        for _ in 0..=MOST_COMPLETIONS {
            match self.vcpu.run() {
                Ok(exit) => {
                    let flow = dispatch(self.gate, self.handler, exit)?;
                    self.follow(flow)?;
                }
                Err(RunError::Interrupted) => {
                    self.io = Io::Finished;
                    // Still outside guest mode, so this is step 1 once more.
                    self.gate.open();
                    return Ok(());
                }
                // Waiting for another vCPU to start this one: there is no I/O.
                Err(RunError::Again) => {}
                Err(RunError::Failed(errno)) => return Err(Error::run(errno).into()),
                Err(RunError::Defect(defect)) => return Err(Error::RunArea(defect).into()),
            }
        }
        Err(Error::IoWithoutEnd {
            turns: MOST_COMPLETIONS,
        }
        .into())
    }

    fn follow(&mut self, flow: Flow) -> Result<(), Leave<H::Error>> {
        match flow {
            Flow::Continue => {}
            Flow::Halt => self.activity = Activity::Halted,
            Flow::Runnable => self.activity = Activity::Runnable,
            Flow::Stop => return Err(Leave::Stopped),
            Flow::Inspect => {
                let flow = self.handler.inspect(self.vcpu).map_err(Leave::Handler)?;
                // To look twice at the same state brings nothing new.
                if flow != Flow::Inspect {
                    self.follow(flow)?;
                }
            }
        }
        Ok(())
    }
}

/// Counts `exit` and gives it to the handler.
fn dispatch<V, H, S, T>(
    gate: &Gate<H::Request, S, T>,
    handler: &mut H,
    exit: Exit<'_>,
) -> Result<Flow, Leave<H::Error>>
where
    V: Vcpu,
    H: Handler<V>,
    S: SkipFlag,
    T: Interrupt,
{
    gate.counters().count_exit(exit.kind());
    handler.exit(exit).map_err(Leave::Handler)
}
