// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is measured of each contender, and how.

use crate::board::{Board, now};
use crate::pace::Irregular;
use crate::samples::Samples;

/// Kicks of a batch that are not measured: the thread is new.
const WARM_UP: usize = 5;

/// A way to get a vCPU out of the guest and have it do something.
pub trait Contender {
    /// What the table calls it.
    fn name(&self) -> &'static str;

    /// Starts the vCPU's thread, kicks it so many times with [`kicks`], and ends it.
    fn batch(&mut self, count: usize, pace: &mut Irregular, measured: &mut Measured);
}

/// The times of one contender, each from just before the kick.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Until the vCPU's thread has handled it, by that thread's clock.
    pub handled: Samples,
    /// Until who kicked knows that.
    pub known: Samples,
}

impl Measured {
    /// What is measured from now on is another batch.
    pub fn begin_batch(&mut self) {
        self.handled.begin_batch();
        self.known.begin_batch();
    }
}

/// Kicks so many times: `kick` returns when who kicks knows that it was handled, `release` lets the
/// vCPU go on where the design has it wait.
pub fn kicks(
    count: usize,
    pace: &mut Irregular,
    board: &Board,
    measured: &mut Measured,
    mut kick: impl FnMut(),
    mut release: impl FnMut(),
) {
    for number in 0..WARM_UP + count {
        pace.moment();
        let due = board.handled() + 1;
        let start = now();
        kick();
        let known = now();
        assert_eq!(board.handled(), due, "handled once for one kick");
        if number >= WARM_UP {
            measured.handled.add(board.at().saturating_sub(start));
            measured.known.add(known.saturating_sub(start));
        }
        release();
    }
}
