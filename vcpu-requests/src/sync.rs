// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The atomics: core's, or loom's when a model is being checked (`--cfg loom`).

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU64, Ordering};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
