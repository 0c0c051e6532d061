// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What other threads do with a vCPU.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};

use vcpu_requests::Request;

use crate::loop_request::LoopRequest;
use crate::shared::Shared;
use crate::{Deadline, Ending, Error, ImmediateExit, Phase, Statistics, Vcpu};

/// A handle on a vCPU: it can be cloned, sent and shared, and may outlive the vCPU's thread, which
/// it then cannot signal any more.
///
/// Everything that waits takes a [`Deadline`]; when it passes, what was asked stays asked.
///
/// A handle keeps the vCPU's skip flag, and with KVM thereby its run area, so the virtual machine
/// stays in the kernel until the last handle is dropped.
pub struct VcpuHandle<V: Vcpu, R>(Arc<Shared<V, R>>);

impl<V: Vcpu, R> Clone for VcpuHandle<V, R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V: Vcpu, R: Request> VcpuHandle<V, R> {
    pub(crate) fn new(shared: Arc<Shared<V, R>>) -> Self {
        Self(shared)
    }

    /// Fails on the vCPU's own thread, which must not wait for itself.
    pub(crate) fn not_own_thread(&self) -> Result<(), Error> {
        self.0.not_own_thread()
    }

    /// Makes a request. It is handled before the vCPU next enters the guest; if it is in the guest,
    /// it is kicked out, once for all requests that come until then. A halted vCPU wakes up, unless
    /// the request is NO_WAKEUP.
    ///
    /// A WAIT request returns when the vCPU is not in the guest mode any more in which the request
    /// found it. It has not been handled by then.
    ///
    /// A request that races with the thread's end may never be handled.
    ///
    /// # Errors
    /// [`Error::Ended`] if the thread has ended; [`Error::SendSignal`]: the request stays made.
    pub fn request(&self, request: R) -> Result<(), Error> {
        self.request_until(request, Deadline::NEVER)
    }

    /// [`Self::request`], with a deadline for the wait of a WAIT request.
    ///
    /// # Errors
    /// As [`Self::request`]; [`Error::DeadlinePassed`].
    pub fn request_until(&self, request: R, deadline: Deadline) -> Result<(), Error> {
        match self.begin_request(request)? {
            Some(ticket) => self.wait_left(ticket, deadline),
            None => Ok(()),
        }
    }

    pub(crate) fn begin_request(&self, request: R) -> Result<Option<vcpu_requests::Ticket>, Error> {
        self.0.control.check_living()?;
        self.0.gate.make(LoopRequest::User(request))
    }

    pub(crate) fn wait_left(
        &self,
        ticket: vcpu_requests::Ticket,
        deadline: Deadline,
    ) -> Result<(), Error> {
        self.not_own_thread()?;
        self.0.gate.wait(ticket, deadline)
    }

    /// Ends the entry that is under way, if one is, and asks for nothing else. An entry is under way
    /// from the moment at which requests were last looked for. A vCPU that is outside is not kept
    /// from its next entry: it looks for requests before that.
    ///
    /// # Errors
    /// [`Error::Ended`], [`Error::SendSignal`].
    pub fn kick(&self) -> Result<(), Error> {
        self.0.control.check_living()?;
        self.0.gate.make(LoopRequest::Kick).map(drop)
    }

    /// Makes the next entry, and only that one, an immediate exit: the guest is entered really, what
    /// is injected is delivered, and the guest comes back after as few instructions as the host's
    /// mechanisms allow. [`Handler::immediate_exit`](crate::Handler::immediate_exit) is told what
    /// came of it; to wait for it, see [`Self::immediate_exit`].
    ///
    /// A vCPU that is in the guest is kicked out first. May be called by a handler, on the vCPU's own
    /// thread: it holds for the entry that comes next, also where requests are being handled
    /// already. Several requests before one entry are one.
    ///
    /// # Errors
    /// [`Error::Ended`], [`Error::SendSignal`].
    pub fn request_immediate_exit(&self) -> Result<(), Error> {
        self.0.control.check_living()?;
        self.0.gate.make(LoopRequest::ImmediateExit).map(drop)
    }

    /// [`Self::request_immediate_exit`], and waits for what comes of it.
    ///
    /// A paused vCPU enters when it is resumed. A halted one does not enter at all, which is said at
    /// once ([`NotEntered::Halted`](crate::NotEntered::Halted)).
    ///
    /// # Errors
    /// [`Error::NotEntered`]: there was no entry; what was to be injected still waits.
    /// [`Error::Ended`], also if the thread ends before the entry; [`Error::DeadlinePassed`]: the
    /// request stays made; [`Error::OwnThread`]; [`Error::SendSignal`].
    pub fn immediate_exit(&self, deadline: Deadline) -> Result<ImmediateExit, Error> {
        self.not_own_thread()?;
        let (sender, receiver) = mpsc::sync_channel(1);
        self.0
            .control
            .await_immediate_exit(Box::new(move |result| {
                // Nobody receives any more if the deadline has passed.
                let _ = sender.send(result.clone());
            }))?;
        self.0.gate.make(LoopRequest::ImmediateExit)?;
        Ok(self.answer(&receiver, deadline)??)
    }

    /// Waits for what the vCPU's thread sends.
    fn answer<T>(&self, receiver: &Receiver<T>, deadline: Deadline) -> Result<T, Error> {
        let answer = match deadline.remaining() {
            None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(left) => receiver.recv_timeout(left),
        };
        match answer {
            Ok(answer) => Ok(answer),
            Err(RecvTimeoutError::Timeout) => Err(Error::DeadlinePassed),
            // Dropped unsent: a closure panicked, or the thread has ended without an answer.
            Err(RecvTimeoutError::Disconnected) => {
                Err(Error::Ended(self.0.control.wait_ended(deadline)?))
            }
        }
    }

    /// Pauses the vCPU and waits until it is: its I/O is finished, its registers are those that the
    /// guest sees, and its thread does nothing but run [`Self::call`]s.
    ///
    /// Pausing a vCPU that is paused is no error, and one [`Self::resume`] is enough after several
    /// pauses. A vCPU that was not started yet pauses when it is, before it enters the guest.
    ///
    /// Two handlers that pause each other's vCPU wait for each other: use a deadline there.
    ///
    /// # Errors
    /// [`Error::Ended`], also if it ends instead of pausing; [`Error::PauseTakenBack`];
    /// [`Error::DeadlinePassed`]; [`Error::OwnThread`]; [`Error::SendSignal`]. Where the deadline passes or
    /// the signal cannot be sent, the pause stays asked for.
    pub fn pause(&self, deadline: Deadline) -> Result<(), Error> {
        self.not_own_thread()?;
        self.begin_pause()?.wait(deadline)
    }

    /// Asks for a pause and does not wait: [`PauseAsked::wait`] does.
    ///
    /// # Errors
    /// [`Error::Ended`], [`Error::SendSignal`].
    pub fn begin_pause(&self) -> Result<PauseAsked<'_, V, R>, Error> {
        let before = self.0.control.ask_pause()?;
        self.0.gate.make(LoopRequest::Pause)?;
        Ok(PauseAsked { vcpu: self, before })
    }

    /// Lets the vCPU run again. No error if it runs.
    ///
    /// # Errors
    /// [`Error::Ended`].
    pub fn resume(&self) -> Result<(), Error> {
        self.0.control.resume()
    }

    /// Asks the thread to end, and does not wait: [`Self::wait`] does. No error if it has ended. A
    /// runner that was not started yet ends when it is, before it enters the guest.
    ///
    /// # Errors
    /// [`Error::SendSignal`].
    pub fn stop(&self) -> Result<(), Error> {
        self.0.control.ask_stop();
        self.0.gate.make(LoopRequest::Stop).map(drop)
    }

    /// Waits until the thread has ended.
    ///
    /// # Errors
    /// [`Error::DeadlinePassed`], [`Error::OwnThread`].
    pub fn wait(&self, deadline: Deadline) -> Result<Ending, Error> {
        self.not_own_thread()?;
        self.0.control.wait_ended(deadline)
    }

    /// Whether `request` was made and not handled yet. Still answers when the thread has ended: what
    /// an error or a stop has left unhandled stays pending.
    pub fn is_pending(&self, request: R) -> bool {
        self.0.gate.requests().test(LoopRequest::User(request))
    }

    /// Where the thread stands.
    pub fn phase(&self) -> Phase {
        self.0.control.phase()
    }

    /// What the vCPU's thread and its makers have counted so far.
    pub fn statistics(&self) -> Statistics {
        self.0.gate.counters().snapshot()
    }
}

impl<V: Vcpu + 'static, R: Request> VcpuHandle<V, R> {
    /// Runs `closure` on the vCPU's thread, outside guest mode and with I/O finished, and waits for
    /// what it returns. The vCPU may be running or paused; it stays what it is. One that was not
    /// started yet runs the closure when it is. Closures come before the guest: callers who never
    /// pause for breath keep it from running.
    ///
    /// # Errors
    /// [`Error::Ended`], also if `closure` panics, which ends the thread; [`Error::DeadlinePassed`]:
    /// then the closure runs later, for nobody; [`Error::OwnThread`]; [`Error::SendSignal`].
    pub fn call<T: Send + 'static>(
        &self,
        deadline: Deadline,
        closure: impl FnOnce(&mut V) -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.not_own_thread()?;
        let (sender, receiver) = mpsc::sync_channel(1);
        self.0.control.queue(Box::new(move |vcpu| {
            // Nobody receives any more if the deadline has passed.
            let _ = sender.send(closure(vcpu));
        }))?;
        self.0.gate.make(LoopRequest::Call)?;
        self.answer(&receiver, deadline)
    }
}

impl<V: Vcpu, R: Request> fmt::Debug for VcpuHandle<V, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VcpuHandle")
            .field("phase", &self.phase())
            .finish_non_exhaustive()
    }
}

/// A pause that was asked for with [`VcpuHandle::begin_pause`].
#[must_use = "the vCPU may still run until `wait` returns"]
pub struct PauseAsked<'a, V: Vcpu, R> {
    vcpu: &'a VcpuHandle<V, R>,
    /// How many pauses there had been.
    before: u64,
}

impl<V: Vcpu, R: Request> PauseAsked<'_, V, R> {
    /// Waits for the pause. One that is over by now has happened all the same.
    ///
    /// # Errors
    /// As [`VcpuHandle::pause`].
    pub fn wait(&self, deadline: Deadline) -> Result<(), Error> {
        self.vcpu.not_own_thread()?;
        self.vcpu.0.control.wait_paused(self.before, deadline)
    }
}

impl<V: Vcpu, R> fmt::Debug for PauseAsked<'_, V, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PauseAsked").finish_non_exhaustive()
    }
}
