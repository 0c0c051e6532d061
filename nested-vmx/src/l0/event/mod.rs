// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Events while L2 is active: what waits, what comes next, where it goes.

mod exception;
mod pending;
pub(super) mod posted;
pub(crate) mod priority;

pub use exception::{Class, PendingException};
pub use pending::PendingEvents;

pub(super) use exception::{Combined, combine};
