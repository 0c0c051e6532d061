// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The immediate exit on real KVM, with the guest programs of `guest/programs`.
//!
//! Where `/dev/kvm` cannot be opened, and where a host cannot do what a test is about, it says so in
//! one line that begins with `SKIPPED:`.

#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic)] // A test that fails panics.

mod debugging;
mod delivery;
mod hostile;
mod irregular;
mod machine;
mod mixer;
mod mixture;
mod refusals;
mod regressions;
mod walk;
