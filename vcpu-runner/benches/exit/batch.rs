// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A batch of exits, and the clock around it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::guest::PORT;

/// A loop that runs a vCPU.
pub trait Contender {
    /// What the table calls it.
    fn name(&self) -> &'static str;

    /// Runs the vCPU until `batch` is over.
    fn run(&mut self, batch: Batch) -> Batch;
}

/// What all contenders do with an exit: count it.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    exits: u32,
    left: u32,
    /// The first exit.
    start: Option<Instant>,
    took: Duration,
}

impl Batch {
    /// So many exits, after one that starts the clock.
    pub fn of(exits: usize) -> Self {
        let exits = exits as u32;
        Self {
            exits,
            left: exits,
            start: None,
            took: Duration::ZERO,
        }
    }

    /// An exit: this was written to that port. Returns whether it was the last one.
    #[inline]
    pub fn exit(&mut self, port: u16, data: &[u8]) -> bool {
        assert_eq!((port, data.len()), (PORT, 1));
        black_box(data[0]);
        let Some(start) = self.start else {
            self.start = Some(Instant::now());
            return false;
        };
        self.left -= 1;
        if self.left == 0 {
            self.took = start.elapsed();
        }
        self.left == 0
    }

    /// How long an exit took, on average.
    pub fn time_of_one(&self) -> Duration {
        self.took / self.exits
    }
}
