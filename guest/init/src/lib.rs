// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Process 1 of the guests that this workspace boots.
//!
//! The program has two lives. In a guest of the reference VMM it mounts what a user space needs,
//! says in one line what it runs on ([`greeting`]), runs what the kernel command line asks for
//! ([`command_line`]) and powers off. In the emulated machine of `cargo xtask lab` it finds a
//! [`task`] in the initramfs: it loads kernel modules, runs one command with its output on
//! [`channel`]s of its own, and reports the status and the files asked for ([`report`]). Where the
//! machine has one way out for all of them, they share it in [`frames`].
//!
//! This library holds what both sides of those conversations must agree on; `cargo xtask` reads
//! and writes the same types.

pub mod channel;
pub mod command_line;
pub mod frames;
pub mod greeting;
pub mod report;
pub mod status;
pub mod task;
