// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a vCPU's thread and its handles have in common.

use std::sync::{Arc, OnceLock};
use std::thread::{self, ThreadId};

use crate::control::Control;
use crate::gate::Gate;
use crate::signal::SignalledThread;
use crate::thread_slot::ThreadSlot;
use crate::{Ending, Error, Phase, Vcpu};

pub(crate) struct Shared<V: Vcpu, R> {
    pub(crate) gate: Gate<R, Arc<V::Skip>, ThreadSlot<SignalledThread>>,
    pub(crate) control: Control<V>,
    /// Which thread runs the vCPU, once one does.
    own_thread: OnceLock<ThreadId>,
}

impl<V: Vcpu, R: vcpu_requests::Request> Shared<V, R> {
    pub(crate) fn new(skip: Arc<V::Skip>) -> Self {
        Self {
            gate: Gate::new(skip, ThreadSlot::empty()),
            control: Control::new(),
            own_thread: OnceLock::new(),
        }
    }

    /// The calling thread is the vCPU's from now on.
    pub(crate) fn own(&self) {
        self.own_thread.get_or_init(|| thread::current().id());
    }

    /// Fails where the calling thread is the vCPU's own: it would wait for itself.
    pub(crate) fn not_own_thread(&self) -> Result<(), Error> {
        let own = self.own_thread.get() == Some(&thread::current().id());
        // Where the thread was the caller's own, it goes on when the vCPU has ended.
        if own && !matches!(self.control.phase(), Phase::Ended(_)) {
            return Err(Error::OwnThread);
        }
        Ok(())
    }

    /// The thread has ended: tells everybody who waits, for whatever.
    pub(crate) fn end(&self, ending: Ending) {
        let never_done = self.control.end(ending);
        self.gate.ring();
        drop(never_done);
    }
}
