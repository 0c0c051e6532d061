// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A vCPU that follows a script instead of running a guest.
//!
//! It keeps to KVM_RUN's rules: I/O is finished first, which may bring further exits even with the
//! skip flag set; then the flag is looked at; only then is the guest entered, which a kick gets it
//! out of.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{
    BriefError, BriefRun, Evidence, Exit, ImmediateExit, Injection, NotEntered, RunError, SkipFlag,
    Vcpu,
};

/// What the scripted guest does next.
pub struct Step(Action);

enum Action {
    Exit(Scripted),
    /// A further exit that finishing the I/O of the one before brings.
    Completion(Scripted),
    Meanwhile(Box<dyn FnOnce() + Send>),
    Spin,
    Again,
    Fail(i32),
    /// For immediate exits only.
    NotEntered(NotEntered),
    Before(Scripted),
}

/// An exit with data of its own.
#[derive(Clone, Debug)]
enum Scripted {
    IoOut { port: u16, data: Vec<u8> },
    IoIn { port: u16, len: usize },
    MmioRead { address: u64, len: usize },
    MmioWrite { address: u64, data: Vec<u8> },
    Hlt,
    Shutdown,
    InternalError { suberror: u32, data: Vec<u64> },
    Other { reason: u32 },
}

impl Step {
    /// The guest writes `data` to `port`, byte by byte.
    pub fn io_out(port: u16, data: &[u8]) -> Self {
        let data = data.to_vec();
        Self(Action::Exit(Scripted::IoOut { port, data }))
    }

    /// The guest reads `len` bytes from `port`.
    pub fn io_in(port: u16, len: usize) -> Self {
        Self(Action::Exit(Scripted::IoIn { port, len }))
    }

    /// The guest reads `len` bytes, 8 at most, at `address`.
    pub fn mmio_read(address: u64, len: usize) -> Self {
        let len = len.min(8);
        Self(Action::Exit(Scripted::MmioRead { address, len }))
    }

    /// The guest writes `data`, 8 bytes at most, at `address`.
    pub fn mmio_write(address: u64, data: &[u8]) -> Self {
        let data = data.iter().copied().take(8).collect();
        Self(Action::Exit(Scripted::MmioWrite { address, data }))
    }

    /// The guest halts.
    pub fn hlt() -> Self {
        Self(Action::Exit(Scripted::Hlt))
    }

    /// The guest has a triple fault.
    pub fn shutdown() -> Self {
        Self(Action::Exit(Scripted::Shutdown))
    }

    /// KVM gives up.
    pub fn internal_error(suberror: u32, data: &[u64]) -> Self {
        let data = data.to_vec();
        Self(Action::Exit(Scripted::InternalError { suberror, data }))
    }

    /// An exit that has no variant of its own in [`Exit`].
    pub fn other(reason: u32) -> Self {
        Self(Action::Exit(Scripted::Other { reason }))
    }

    /// This exit belongs to the one before: finishing that one's I/O brings it, so it comes with the
    /// skip flag set too. A write that crosses a page is such a pair.
    #[must_use]
    pub fn as_completion(self) -> Self {
        match self.0 {
            Action::Exit(exit) => Self(Action::Completion(exit)),
            other => Self(other),
        }
    }

    /// While the guest runs, `event` happens outside of it.
    pub fn meanwhile(event: impl FnOnce() + Send + 'static) -> Self {
        Self(Action::Meanwhile(Box::new(event)))
    }

    /// The guest runs until it is kicked out.
    pub fn spin() -> Self {
        Self(Action::Spin)
    }

    /// KVM_RUN fails with EAGAIN, as it does when another vCPU has started this one.
    pub fn again() -> Self {
        Self(Action::Again)
    }

    /// The guest cannot be entered for an immediate exit. An entry that is none passes over it.
    pub fn not_entered(why: NotEntered) -> Self {
        Self(Action::NotEntered(why))
    }

    /// This exit comes before an immediate exit has entered the guest. In an entry that is none it is
    /// like any other.
    #[must_use]
    pub fn before_entry(self) -> Self {
        match self.0 {
            Action::Exit(exit) => Self(Action::Before(exit)),
            other => Self(other),
        }
    }

    /// KVM_RUN fails with this error number.
    pub fn fail(errno: i32) -> Self {
        Self(Action::Fail(errno))
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Action::Exit(exit) => exit.fmt(f),
            Action::Completion(exit) => write!(f, "completion: {exit:?}"),
            Action::Meanwhile(_) => f.write_str("Meanwhile"),
            Action::Spin => f.write_str("Spin"),
            Action::Again => f.write_str("Again"),
            Action::Fail(errno) => write!(f, "Fail({errno})"),
            Action::NotEntered(why) => write!(f, "NotEntered({why:?})"),
            Action::Before(exit) => write!(f, "before: {exit:?}"),
        }
    }
}

/// A vCPU that follows a script. At the script's end its guest spins until it is kicked out.
#[derive(Debug)]
pub struct ScriptedVcpu {
    script: VecDeque<Step>,
    flag: Arc<ScriptedFlag>,
    /// The exit whose I/O the next run finishes, and the data that it lends.
    pending: Option<Pending>,
    answers: Vec<Vec<u8>>,
    entries: u64,
    brief_entries: u64,
}

#[derive(Debug)]
struct Pending {
    exit: Scripted,
    /// What an exit that reads is given.
    answer: Vec<u8>,
}

impl ScriptedVcpu {
    /// A vCPU whose guest does `script`.
    pub fn new(script: impl IntoIterator<Item = Step>) -> Self {
        Self {
            script: script.into_iter().collect(),
            flag: Arc::default(),
            pending: None,
            answers: Vec::new(),
            entries: 0,
            brief_entries: 0,
        }
    }

    /// Adds to the script's end.
    pub fn extend(&mut self, script: impl IntoIterator<Item = Step>) {
        self.script.extend(script);
    }

    /// Makes the next run finish I/O first, as after a restored state that was taken in the middle
    /// of it: a completion that the script begins with comes also with the skip flag set.
    pub fn leave_io_pending(&mut self) {
        self.pending = Some(Pending {
            exit: Scripted::Hlt,
            answer: Vec::new(),
        });
    }

    /// Whether the I/O of the last exit is finished, so that a KVM vCPU's registers would be those
    /// that the guest sees.
    pub fn io_is_finished(&self) -> bool {
        self.pending.is_none()
    }

    /// What reads were answered with, of those that are finished.
    pub fn answers(&self) -> &[Vec<u8>] {
        &self.answers
    }

    /// How often the guest was really entered.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// How often the guest was really entered for an immediate exit.
    pub fn brief_entries(&self) -> u64 {
        self.brief_entries
    }

    /// How many steps are left.
    pub fn steps_left(&self) -> usize {
        self.script.len()
    }

    /// Finishes the I/O of the last exit. Further exits that this brings are returned.
    fn finish(&mut self) -> Option<Scripted> {
        let pending = self.pending.take()?;
        if matches!(
            pending.exit,
            Scripted::IoIn { .. } | Scripted::MmioRead { .. }
        ) {
            self.answers.push(pending.answer);
        }
        match self.script.pop_front()? {
            Step(Action::Completion(exit)) => Some(exit),
            other => {
                self.script.push_front(other);
                None
            }
        }
    }

    /// Is in the guest until there is an exit.
    fn guest(&mut self) -> Result<Scripted, RunError> {
        self.entries += 1;
        loop {
            match self.script.pop_front().unwrap_or_else(Step::spin).0 {
                Action::Exit(exit) | Action::Completion(exit) | Action::Before(exit) => {
                    return Ok(exit);
                }
                Action::NotEntered(_) => {}
                Action::Meanwhile(event) => {
                    event();
                    if self.flag.is_set() {
                        return Err(RunError::Interrupted);
                    }
                }
                Action::Spin => {
                    self.flag.wait();
                    return Err(RunError::Interrupted);
                }
                Action::Again => return Err(RunError::Again),
                Action::Fail(errno) => return Err(RunError::from_errno(errno)),
            }
        }
    }
}

impl Vcpu for ScriptedVcpu {
    type Skip = ScriptedFlag;

    fn skip_flag(&self) -> Arc<ScriptedFlag> {
        Arc::clone(&self.flag)
    }

    fn run(&mut self) -> Result<Exit<'_>, RunError> {
        let exit = match self.finish() {
            Some(exit) => exit,
            None if self.flag.is_set() => return Err(RunError::Interrupted),
            None => self.guest()?,
        };
        Ok(self.lend(exit))
    }

    /// Takes one step of the script: a guest that spins is left where it is.
    fn run_briefly(&mut self) -> Result<BriefRun<'_>, BriefError> {
        if self.pending.is_some() {
            // What the loop promises: its I/O is finished.
            return Err(BriefError::Run(RunError::Failed(libc::EINVAL)));
        }
        if self.flag.is_set() {
            return Err(BriefError::Skipped);
        }
        let (evidence, exit) = match self.script.pop_front().map(|Step(action)| action) {
            Some(Action::Exit(exit) | Action::Completion(exit)) => (None, Some(exit)),
            Some(Action::Before(exit)) => return Ok(BriefRun::Before(self.lend(exit))),
            Some(Action::NotEntered(why)) => return Err(why.into()),
            Some(Action::Again) => return Err(RunError::Again.into()),
            Some(Action::Fail(errno)) => return Err(RunError::from_errno(errno).into()),
            Some(Action::Meanwhile(event)) => {
                event();
                (Some(Evidence::Progress), None)
            }
            Some(Action::Spin) => {
                self.script.push_front(Step::spin());
                (Some(Evidence::Counter), None)
            }
            None => (Some(Evidence::Counter), None),
        };
        self.entries += 1;
        self.brief_entries += 1;
        let exit = exit.map(|exit| self.lend(exit));
        let shown = exit.as_ref().map(|exit| Evidence::Exit(exit.kind()));
        Ok(BriefRun::Entered {
            report: ImmediateExit {
                evidence: evidence.or(shown).unwrap_or(Evidence::Counter),
                injection: Injection::Nothing,
                instructions: Some(1),
                attempts: 1,
                mechanism: "scripted",
                time: Duration::ZERO,
            },
            exit,
        })
    }
}

impl ScriptedVcpu {
    /// Lends `exit` to the caller, and keeps it as the one whose I/O is to be finished.
    fn lend(&mut self, exit: Scripted) -> Exit<'_> {
        let len = match exit {
            Scripted::IoIn { len, .. } | Scripted::MmioRead { len, .. } => len,
            _ => 0,
        };
        let pending = self.pending.insert(Pending {
            exit,
            answer: vec![0; len],
        });
        match &pending.exit {
            &Scripted::IoIn { port, .. } => Exit::IoIn {
                port,
                size: 1,
                data: &mut pending.answer,
            },
            &Scripted::MmioRead { address, .. } => Exit::MmioRead {
                address,
                data: &mut pending.answer,
            },
            Scripted::IoOut { port, data } => Exit::IoOut {
                port: *port,
                size: 1,
                data,
            },
            Scripted::MmioWrite { address, data } => Exit::MmioWrite {
                address: *address,
                data,
            },
            Scripted::Hlt => Exit::Hlt,
            Scripted::Shutdown => Exit::Shutdown,
            Scripted::InternalError { suberror, data } => Exit::InternalError {
                suberror: *suberror,
                data,
            },
            &Scripted::Other { reason } => Exit::Other { reason },
        }
    }
}

/// The skip flag of a [`ScriptedVcpu`]. Setting it also gets the guest out, since the kick that
/// follows it would.
#[derive(Debug, Default)]
pub struct ScriptedFlag {
    set: Mutex<bool>,
    changed: Condvar,
}

impl ScriptedFlag {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_set(&self) -> bool {
        *self.lock()
    }

    fn wait(&self) {
        let mut set = self.lock();
        while !*set {
            set = self
                .changed
                .wait(set)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl SkipFlag for ScriptedFlag {
    fn set(&self) {
        *self.lock() = true;
        self.changed.notify_all();
    }

    fn clear(&self) {
        *self.lock() = false;
    }
}
