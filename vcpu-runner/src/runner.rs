// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! From a vCPU and its handler to a thread that runs them.

use std::any::Any;
use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::run_loop::RunLoop;
use crate::shared::Shared;
use crate::signal::SignalledThread;
use crate::{Ending, Error, Handler, KickSignal, Vcpu, VcpuHandle};

/// A vCPU that is ready to be run, with the handler of its exits and requests.
///
/// Handles can be had before it runs, to give them to whoever will make requests.
///
/// ```
/// use vcpu_requests::requests;
/// use vcpu_runner::scripted::{ScriptedVcpu, Step};
/// use vcpu_runner::{Deadline, Exit, Flow, Handler, Outcome, Runner};
///
/// requests! {
///     /// What this VMM asks of its vCPUs.
///     pub enum Request {
///         /// An interrupt waits.
///         Interrupt = 0,
///     }
/// }
///
/// struct Console(Vec<u8>);
///
/// impl Handler<ScriptedVcpu> for Console {
///     type Request = Request;
///     type Error = std::io::Error;
///
///     fn exit(&mut self, exit: Exit<'_>) -> Result<Flow, Self::Error> {
///         match exit {
///             Exit::IoOut { port: 0x3f8, data, .. } => self.0.extend_from_slice(data),
///             Exit::Hlt => return Ok(Flow::Halt),
///             _ => {}
///         }
///         Ok(Flow::Continue)
///     }
///
///     fn request(&mut self, request: Request, _: &mut ScriptedVcpu) -> Result<Flow, Self::Error> {
///         match request {
///             Request::Interrupt => Ok(Flow::Stop),
///         }
///     }
/// }
///
/// // A guest that writes a byte to the serial port and halts.
/// let vcpu = ScriptedVcpu::new([Step::io_out(0x3f8, b"!"), Step::hlt()]);
/// let thread = Runner::new(vcpu, Console(Vec::new())).name("vcpu0").spawn()?;
/// thread.handle().request(Request::Interrupt)?;
/// let ended = thread.join()?;
/// assert!(matches!(ended.outcome, Outcome::Stopped));
/// # Ok::<_, vcpu_runner::Error>(())
/// ```
pub struct Runner<V: Vcpu, H: Handler<V>> {
    // First, so that everybody knows the end before the handler is dropped: its destructor may wait
    // for somebody who waits for the vCPU.
    shared: SharedUntilEnd<V, H::Request>,
    vcpu: V,
    handler: H,
    signal: KickSignal,
    name: Option<String>,
}

impl<V: Vcpu, H: Handler<V>> Runner<V, H> {
    /// A runner for `vcpu`, whose exits and requests `handler` handles.
    pub fn new(vcpu: V, handler: H) -> Self {
        let shared = Arc::new(Shared::new(vcpu.skip_flag()));
        Self {
            vcpu,
            handler,
            shared: SharedUntilEnd {
                shared,
                ending: Ending::NeverRan,
            },
            signal: KickSignal::default(),
            name: None,
        }
    }

    /// Names the thread that [`Self::spawn`] starts. Linux shows the first 15 bytes.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Uses another signal than SIGURG for kicks.
    #[must_use]
    pub fn kick_signal(mut self, signal: KickSignal) -> Self {
        self.signal = signal;
        self
    }

    /// A handle on the vCPU.
    pub fn handle(&self) -> VcpuHandle<V, H::Request> {
        VcpuHandle::new(Arc::clone(&self.shared.shared))
    }

    /// The handler, to give it what it can only be given now: a handle on its own vCPU, say.
    pub fn handler_mut(&mut self) -> &mut H {
        &mut self.handler
    }

    /// The vCPU, to set it up.
    pub fn vcpu_mut(&mut self) -> &mut V {
        &mut self.vcpu
    }

    /// Runs the vCPU on the calling thread until it is stopped or fails.
    ///
    /// A panic of the handler does not get out of here: it is the [`Outcome`].
    pub fn run(self) -> Ended<V, H> {
        let Self {
            mut vcpu,
            mut handler,
            mut shared,
            signal,
            name: _,
        } = self;
        // Whatever unwinds from here on is a panic.
        shared.ending = Ending::Panicked(Arc::from("a destructor panicked"));
        let outcome = run_here(&mut vcpu, &mut handler, &shared.shared, signal);
        shared.ending = outcome.ending();
        drop(shared);
        Ended {
            vcpu,
            handler,
            outcome,
        }
    }
}

impl<V, H> Runner<V, H>
where
    V: Vcpu + Send + 'static,
    H: Handler<V> + Send + 'static,
{
    /// Starts a thread that runs the vCPU.
    ///
    /// # Errors
    /// [`Error::UnusableSignal`] and [`Error::SetUpSignal`] if the kick signal cannot be used,
    /// [`Error::Spawn`] if there can be no thread of this name or no thread at all.
    pub fn spawn(self) -> Result<VcpuThread<V, H>, Error> {
        self.signal.install()?;
        let mut builder = thread::Builder::new();
        if let Some(name) = &self.name {
            if name.contains('\0') {
                let source = io::Error::new(io::ErrorKind::InvalidInput, "NUL in its name");
                return Err(Error::Spawn(Arc::new(source)));
            }
            builder = builder.name(name.clone());
        }
        let handle = self.handle();
        let thread = builder
            .spawn(move || self.run())
            .map_err(|source| Error::Spawn(Arc::new(source)))?;
        Ok(VcpuThread {
            handle,
            thread: Some(thread),
        })
    }
}

/// What the thread shares, and what everybody is told when it goes, whichever way.
struct SharedUntilEnd<V: Vcpu, R: vcpu_requests::Request> {
    shared: Arc<Shared<V, R>>,
    ending: Ending,
}

impl<V: Vcpu, R: vcpu_requests::Request> Drop for SharedUntilEnd<V, R> {
    fn drop(&mut self) {
        self.shared.end(self.ending.clone());
    }
}

fn run_here<V: Vcpu, H: Handler<V>>(
    vcpu: &mut V,
    handler: &mut H,
    shared: &Shared<V, H::Request>,
    signal: KickSignal,
) -> Outcome<H::Error> {
    if let Err(error) = signal.install().and_then(|()| signal.unblock()) {
        return Outcome::Error(error);
    }
    shared.own();
    let this_thread = SignalledThread::current(signal);
    let run = || {
        shared.control.begin();
        let run_loop = RunLoop::new(vcpu, handler, &shared.gate, &shared.control);
        // What the handler and the vCPU are like after a panic is for whoever joins to judge.
        match panic::catch_unwind(AssertUnwindSafe(|| run_loop.run())) {
            Ok(outcome) => outcome,
            Err(payload) => Outcome::Panicked(message_of(payload)),
        }
    };
    // SAFETY: it is the calling thread.
    unsafe { shared.gate.thread().while_running(this_thread, run) }
}

fn message_of(payload: Box<dyn Any + Send>) -> Arc<str> {
    let message = match payload.downcast::<String>() {
        Ok(message) => return Arc::from(*message),
        Err(payload) => payload.downcast::<&'static str>(),
    };
    Arc::from(message.map_or("(without a message)", |message| *message))
}

/// The thread of a vCPU.
///
/// Dropping it asks the vCPU to stop and does not wait; [`Self::join`] waits.
pub struct VcpuThread<V: Vcpu, H: Handler<V>> {
    handle: VcpuHandle<V, H::Request>,
    thread: Option<JoinHandle<Ended<V, H>>>,
}

impl<V: Vcpu, H: Handler<V>> VcpuThread<V, H> {
    /// A handle on the vCPU.
    pub fn handle(&self) -> &VcpuHandle<V, H::Request> {
        &self.handle
    }

    /// Waits until the thread has ended, and gives back what it had. It does not ask it to end:
    /// [`VcpuHandle::stop`] does.
    ///
    /// # Errors
    /// [`Error::Ended`] if a destructor panicked on the thread, so that nothing can be given back;
    /// [`Error::OwnThread`].
    pub fn join(mut self) -> Result<Ended<V, H>, Error> {
        self.handle.not_own_thread()?;
        let never_ran = Error::Ended(Ending::NeverRan);
        self.thread
            .take()
            .ok_or(never_ran)?
            .join()
            .map_err(|payload| Error::Ended(Ending::Panicked(message_of(payload))))
    }
}

impl<V: Vcpu, H: Handler<V>> Drop for VcpuThread<V, H> {
    fn drop(&mut self) {
        if self.thread.is_some() {
            // It fails if the thread cannot be signalled: then it stops when the guest next exits,
            // or when somebody signals it who can.
            let _ = self.handle.stop();
        }
    }
}

impl<V: Vcpu, H: Handler<V>> fmt::Debug for VcpuThread<V, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VcpuThread")
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}

/// What is left when a vCPU's thread has ended.
#[derive(Debug)]
pub struct Ended<V: Vcpu, H: Handler<V>> {
    /// The vCPU. Stopping does not finish its last exit's I/O: to see the registers that the guest
    /// would see, pause it before.
    pub vcpu: V,
    /// The handler.
    pub handler: H,
    /// Why the thread ended.
    pub outcome: Outcome<H::Error>,
}

/// Why a vCPU's thread ended.
#[derive(Debug)]
pub enum Outcome<E> {
    /// It was stopped, by a handle or by [`Flow::Stop`](crate::Flow::Stop).
    Stopped,
    /// The handler failed.
    Handler(E),
    /// KVM or the loop failed.
    Error(Error),
    /// The handler, or a closure that was sent to the thread, panicked with this message.
    Panicked(Arc<str>),
}

impl<E> Outcome<E> {
    fn ending(&self) -> Ending {
        match self {
            Self::Stopped => Ending::Stopped,
            Self::Handler(_) | Self::Error(_) => Ending::Failed,
            Self::Panicked(message) => Ending::Panicked(Arc::clone(message)),
        }
    }
}
