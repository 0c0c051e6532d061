// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The main thread's wait: for input, signals, and the first outcome.

use std::io;
use std::sync::Arc;

use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};

use super::error::VmmError;
use crate::outcome::{FirstOutcome, Outcome};

/// An event loop that ends with the first outcome.
pub(super) struct EventLoop {
    manager: EventManager<Box<dyn MutEventSubscriber>>,
    first: Arc<FirstOutcome>,
}

impl EventLoop {
    pub(super) fn new(first: Arc<FirstOutcome>) -> Result<Self, VmmError> {
        let manager = EventManager::new().map_err(error("make the event loop"))?;
        let mut this = Self { manager, first };
        this.add(WakeUp(this.first.clone()));
        Ok(this)
    }

    pub(super) fn add(&mut self, subscriber: impl MutEventSubscriber + 'static) {
        self.manager.add_subscriber(Box::new(subscriber));
    }

    /// Handles events until there is an outcome.
    pub(super) fn run(&mut self) -> Result<Arc<Outcome>, VmmError> {
        loop {
            match self.first.get() {
                Some(outcome) => return Ok(outcome),
                None => self.manager.run().map_err(error("wait for events"))?,
            };
        }
    }
}

fn error(what: &'static str) -> impl Fn(event_manager::Error) -> VmmError {
    move |error| VmmError::Host {
        what,
        source: io::Error::other(error),
    }
}

/// Wakes the loop when there is an outcome, which it then looks at.
struct WakeUp(Arc<FirstOutcome>);

impl MutEventSubscriber for WakeUp {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        if let Err(error) = ops.add(Events::new(self.0.event(), EventSet::IN)) {
            log::error!("cannot watch for the end: {error}");
        }
    }

    fn process(&mut self, _events: Events, _ops: &mut EventOps<'_>) {
        // It is readable, so there is nothing to fail.
        let _ = self.0.event().read();
    }
}
