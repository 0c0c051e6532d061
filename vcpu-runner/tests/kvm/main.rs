// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The runner on real KVM, with small guests in ring 0. They need no hardware virtualization: a KVM
//! that emulates runs them too.
//!
//! Where `/dev/kvm` cannot be opened each test says so in one line that begins with `SKIPPED:`.

#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic)] // A test that fails panics.

mod group;
mod guest;
mod halt;
mod kicks;
mod memory_io;
mod pause;
mod port_io;
mod shutdown;
mod stop;
