// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The modes in which the guest is measured, with the counters of [`crate::storm::Shared`].

use crate::layout;

/// How often [`crate::Mode::Work`] goes round its inner loop of two instructions before it counts an
/// iteration.
pub const WORK: u64 = 1000;

/// How often the L2 of [`crate::Mode::Spin`] has gone round its loop of two instructions: 8 bytes. One
/// iteration of L1 is one launch with an interrupt for L1 that waits.
pub const L2_PROGRESS: u64 = layout::L2_PROGRESS;
