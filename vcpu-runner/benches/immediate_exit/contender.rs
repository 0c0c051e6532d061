// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is compared.

use std::time::Duration;

/// What an entry is to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An external interrupt; the instructions are its handler's.
    Event,
    /// Nothing.
    Nothing,
}

/// One entry.
#[derive(Clone, Copy, Debug)]
pub struct Entered {
    /// Guest instructions that ran.
    pub instructions: u64,
    /// What it took, from the wish to the guest being back.
    pub time: Duration,
    /// Attempts that did not enter.
    pub missed: u32,
}

/// One way to enter a guest for as little as possible.
pub trait Contender {
    /// What the table calls it.
    fn name(&self) -> &'static str;

    /// Enters from the beginning.
    ///
    /// # Errors
    /// Why it is not possible, which will not change.
    fn enter(&mut self, subject: Subject) -> Result<Entered, String>;
}
