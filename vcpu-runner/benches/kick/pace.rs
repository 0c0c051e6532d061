// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Kicks at irregular times, so that they meet the vCPU anywhere: far into the guest, and on its
//! way there.

use std::thread;
use std::time::Duration;

/// The longest pause between two kicks, in nanoseconds.
const LONGEST: u64 = 200_000;

/// A small generator (xorshift64): what is random here need only be irregular.
pub struct Irregular(u64);

impl Irregular {
    /// Any seed but 0.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Lets a moment pass.
    pub fn moment(&mut self) {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let moment = Duration::from_nanos(self.0 % LONGEST);
        thread::sleep(moment);
    }
}
