// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guests on KVM: each event, in each mode, interrupts each program, is handled once, and the program
//! goes on.

#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic)] // A test that fails panics.

mod delivery;
mod endless;
mod kick;
mod machine;
