// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A device's interrupt line that ends at the VMM's own interrupt controllers: an eventfd, as
//! KVM's irqfd is one.

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vmm_sys_util::eventfd::EventFd;

/// Watches the eventfd.
pub struct InterruptLine<F> {
    event: EventFd,
    raise: F,
}

impl<F: FnMut()> InterruptLine<F> {
    /// Calls `raise` for each edge.
    pub fn new(event: EventFd, raise: F) -> Self {
        Self { event, raise }
    }
}

impl<F: FnMut()> MutEventSubscriber for InterruptLine<F> {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        if let Err(error) = ops.add(Events::new(&self.event, EventSet::IN)) {
            log::error!("cannot watch an interrupt line: {error}");
        }
    }

    fn process(&mut self, _events: Events, _ops: &mut EventOps<'_>) {
        // It is readable, so there is nothing to fail.
        let _ = self.event.read();
        (self.raise)();
    }
}
