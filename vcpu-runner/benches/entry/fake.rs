// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A vCPU without KVM whose guest exits at once, and a handler that takes its exits.
//!
//! Neither is inlined, so that whoever calls them calls the same instructions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use vcpu_requests::requests;
use vcpu_runner::{Exit, Flow, Handler, RunError, SkipFlag, Vcpu};

requests! {
    /// What could be asked.
    pub enum Ask {
        /// It never is.
        Nothing = 0,
    }
}

/// Behind as many pointers as KVM's is.
#[derive(Default)]
pub struct Flag(Arc<AtomicU8>);

impl SkipFlag for Flag {
    fn set(&self) {
        self.0.store(1, Ordering::Release);
    }

    fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Exits at once, with a byte for a port.
#[derive(Default)]
pub struct ExitsAtOnce {
    flag: Arc<AtomicU8>,
    byte: [u8; 1],
}

impl Vcpu for ExitsAtOnce {
    type Skip = Flag;

    fn skip_flag(&self) -> Arc<Flag> {
        Arc::new(Flag(Arc::clone(&self.flag)))
    }

    #[inline(never)]
    fn run(&mut self) -> Result<Exit<'_>, RunError> {
        Ok(Exit::IoOut {
            port: 0x80,
            size: 1,
            data: &self.byte,
        })
    }
}

/// Counts exits down.
pub struct CountDown {
    /// How many are left.
    pub left: u64,
}

impl Handler<ExitsAtOnce> for CountDown {
    type Request = Ask;
    type Error = String;

    #[inline(never)]
    fn exit(&mut self, exit: Exit<'_>) -> Result<Flow, String> {
        match exit {
            Exit::IoOut { .. } => {
                self.left -= 1;
                Ok(if self.left == 0 {
                    Flow::Stop
                } else {
                    Flow::Continue
                })
            }
            other => Err(format!("{other:?}")),
        }
    }

    fn request(&mut self, _: Ask, _: &mut ExitsAtOnce) -> Result<Flow, String> {
        Ok(Flow::Continue)
    }
}
