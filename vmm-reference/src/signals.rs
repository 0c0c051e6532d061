// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Signals, taken in the event loop.
//!
//! | signal | does |
//! |---|---|
//! | SIGTERM, SIGINT, SIGHUP, SIGQUIT | end the VMM in order, with status 128 + its number |
//! | SIGTSTP | puts the terminal back and stops the VMM |
//! | SIGCONT | takes the terminal again |
//! | SIGUSR1 | shows the vCPUs' registers |
//!
//! One that is ignored when the VMM starts (SIGHUP under nohup) stays ignored.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use signal_hook::SigId;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1};
use signal_hook::flag::register_conditional_default;
use signal_hook::low_level::{emulate_default_handler, pipe, unregister};

use crate::outcome::{FirstOutcome, Outcome};
use crate::terminal::RawTerminal;

const TAKEN: [i32; 7] = [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGUSR1];

/// Gives signals their default action while nobody takes them. signal-hook's own handler stays
/// installed once it is, so without this a signal that comes after a run would be lost.
static DEFAULTS: Mutex<Vec<SigId>> = Mutex::new(Vec::new());

/// Signals that no longer have their default action: what comes waits until it is handled.
pub struct Signals(Vec<Taken>);

struct Taken {
    signal: i32,
    id: SigId,
    /// Has a byte after the signal has come.
    came: UnixStream,
}

impl Signals {
    /// Begins to take signals.
    ///
    /// # Errors
    /// When a handler or its pipe cannot be had.
    pub fn take() -> io::Result<Self> {
        for id in defaults().drain(..) {
            unregister(id);
        }
        let mut this = Self(Vec::new());
        for signal in TAKEN {
            if is_ignored(signal)? {
                continue;
            }
            let (came, comes) = UnixStream::pair()?;
            came.set_nonblocking(true)?;
            let id = pipe::register(signal, comes)?;
            this.0.push(Taken { signal, id, came });
        }
        Ok(this)
    }

    /// For the event loop: with what the signals are about.
    pub fn handled(
        self,
        first: Arc<FirstOutcome>,
        terminal: Rc<Option<RawTerminal>>,
        show_registers: impl FnMut() + 'static,
    ) -> HandledSignals {
        HandledSignals {
            signals: self,
            first,
            terminal,
            show_registers: Box::new(show_registers),
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let mut defaults = defaults();
        for taken in &self.0 {
            let always = Arc::new(AtomicBool::new(true));
            match register_conditional_default(taken.signal, always) {
                Ok(id) => defaults.push(id),
                Err(error) => log::error!("cannot give signal {} back: {error}", taken.signal),
            }
            unregister(taken.id);
        }
    }
}

/// Handles signals in the event loop.
pub struct HandledSignals {
    signals: Signals,
    first: Arc<FirstOutcome>,
    terminal: Rc<Option<RawTerminal>>,
    show_registers: Box<dyn FnMut()>,
}

impl HandledSignals {
    fn handle(&mut self, signal: i32) {
        match signal {
            SIGUSR1 => (self.show_registers)(),
            SIGTSTP => {
                if let Some(terminal) = &*self.terminal {
                    terminal.suspend();
                }
                if let Err(error) = emulate_default_handler(SIGTSTP) {
                    log::error!("cannot stop on SIGTSTP: {error}");
                }
            }
            SIGCONT => {
                if let Some(Err(error)) =
                    self.terminal.as_ref().as_ref().map(RawTerminal::continued)
                {
                    log::warn!("cannot take the terminal again: {error}");
                }
            }
            _ => self.first.report(Outcome::Signal(signal)),
        }
    }
}

impl MutEventSubscriber for HandledSignals {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        for (taken, index) in self.signals.0.iter().zip(0..) {
            if let Err(error) = ops.add(Events::with_data(&taken.came, index, EventSet::IN)) {
                log::error!("cannot watch for signal {}: {error}", taken.signal);
            }
        }
    }

    fn process(&mut self, events: Events, _ops: &mut EventOps<'_>) {
        let Some(taken) = self.signals.0.get_mut(events.data() as usize) else {
            return;
        };
        // Emptied before the signal is handled: one that comes meanwhile is handled again.
        let mut bytes = [0; 64];
        while taken
            .came
            .read(&mut bytes)
            .is_ok_and(|count| count == bytes.len())
        {}
        let signal = taken.signal;
        self.handle(signal);
    }
}

fn defaults() -> MutexGuard<'static, Vec<SigId>> {
    DEFAULTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_ignored(signal: i32) -> io::Result<bool> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: no new action is given; the present one is written whole when this succeeds.
    let ret = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    if ret != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it succeeded.
    let action = unsafe { action.assume_init() };
    Ok(action.sa_sigaction == libc::SIG_IGN)
}
