// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! KVM's nested state, without KVM: bytes and back, what would be refused, where a vCPU is, and
//! restores through a port that keeps a record.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::panic, reason = "a test may")]

#[path = "../facts/mod.rs"]
mod facts;

mod checked_by;
mod errors;
mod layout;
mod offered;
mod plan;
mod port;
mod refusals;
mod round_trips;
mod set_cases;
mod states;
mod whereabouts;
