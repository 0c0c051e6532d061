// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest `guest/l1` on KVM's nested VMX. Where the host has none, the tests say so and pass:
//! `cargo xtask lab vmx` is a machine that has it. And on a KVM that has none, with the reference
//! VMM's.

#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic)] // A test that fails panics.

mod books;
mod guest;
mod host;
mod random;
mod save;
mod scenarios;
mod soft;
mod soft_machine;
mod storm;
