// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! L1s that mean no good, and some that only want to know: made by hand, each run by the VMM with
//! VMX in software. What they see is what the SDM says, and the VMM neither dies nor hangs.

#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic)] // A test that fails panics.

mod bits32;
mod child;
mod copied;
mod ept;
mod exceptions;
mod exits;
mod handlers;
mod l1;
mod layout;
#[path = "../machine/mod.rs"]
mod machine;
mod modes;
mod neighbours;
mod operands;
mod outside;
mod reach;
mod registers;
mod routines;
mod tables;
mod unseen;
mod user;
mod vmcs12;
