// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What vm-superio's devices pull when they have something to tell.

use std::convert::Infallible;
use std::io;

use vm_superio::Trigger;
use vmm_sys_util::eventfd::EventFd;

/// An interrupt line: an eventfd that KVM listens to (irqfd).
#[derive(Debug)]
pub struct EventFdTrigger(EventFd);

impl EventFdTrigger {
    /// Writes to `event` when triggered.
    pub fn new(event: EventFd) -> Self {
        Self(event)
    }
}

impl Trigger for EventFdTrigger {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// Calls a function.
pub struct FnTrigger(Box<dyn Fn() + Send + Sync>);

impl FnTrigger {
    /// Calls `function` when triggered.
    pub fn new(function: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Box::new(function))
    }
}

impl Trigger for FnTrigger {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        (self.0)();
        Ok(())
    }
}
