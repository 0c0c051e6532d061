// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A tiny hypervisor that runs as L1, without an operating system, and its L2 programs.
//!
//! It enters L2 in many ways ([`scenarios`]) and prints on the first serial port what came of each:
//! a trace that is the same on every machine whose VMX is right. Or it launches L2 in a loop
//! ([`storm`]), while its VMM raises events and both keep books.
//!
//! The instructions are assembled with this crate; tables and scenarios are written in Rust into one
//! [`image()`], from which [`elf()`] makes a kernel for a VMM, and [`rom()`] firmware for a bare
//! machine.

pub mod bench;
mod code;
mod elf;
mod image;
pub mod known;
pub mod layout;
mod record;
mod rom;
pub mod scenario;
pub mod scenarios;
pub mod storm;
mod tables;
pub mod trace;
pub mod vmcs12;

pub use elf::elf;
pub use image::{Mode, image};
pub use rom::rom;
