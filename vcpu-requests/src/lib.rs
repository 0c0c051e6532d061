// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Typed requests to a vCPU, and a race-free way to have them noticed.
//!
//! ```
//! use vcpu_requests::{NotEntered, VcpuRequests, requests};
//!
//! requests! {
//!     /// What this VMM asks of its vCPUs.
//!     pub enum Ask {
//!         /// Inject what the interrupt controller has.
//!         Event = 0,
//!         /// Forget cached translations.
//!         FlushTlb = 1: WAIT | NO_WAKEUP,
//!     }
//! }
//!
//! /// The vCPU's thread.
//! fn run_once(vcpu: &VcpuRequests<Ask>, mut run_guest: impl FnMut()) {
//!     loop {
//!         match vcpu.enter() {
//!             Ok(guest) => {
//!                 run_guest();
//!                 guest.leave();
//!                 return;
//!             }
//!             Err(NotEntered::Pending(_)) => {
//!                 for request in vcpu.take() {
//!                     // A request that is made here, the same one included, is handled too.
//!                     println!("handling {}", request.name());
//!                 }
//!             }
//!             Err(busy) => unreachable!("{busy}"),
//!         }
//!     }
//! }
//! # use vcpu_requests::Request;
//! # let vcpu = VcpuRequests::new();
//! # let _ = vcpu.make(Ask::Event);
//! # run_once(&vcpu, || assert!(!vcpu.pending()));
//! ```
//!
//! - Declare requests with [`requests!`]; what they mean beyond a bit is in [`Flags`].
//! - Each vCPU has a [`VcpuRequests`]. Any thread [`make`](VcpuRequests::make)s requests and learns
//!   from [`Kick`] what it must do for the vCPU to notice; the vCPU's thread
//!   [`check`](VcpuRequests::check)s or [`take`](VcpuRequests::take)s them, and
//!   [`enter`](VcpuRequests::enter)s or [`sleep`](VcpuRequests::sleep)s when none is left.
//! - [`broadcast`] makes a request on many vCPUs; [`value`] sends a number along.
//!
//! The crate does not know KVM and signals nobody: it says who has to.

#![no_std]
#![forbid(unsafe_code)]

pub mod broadcast;
pub mod value;

mod declare;
mod flags;
mod guards;
mod made;
mod mode;
mod not_entered;
mod request;
mod set;
mod sync;
mod vcpu_requests;
mod word;

pub use flags::Flags;
pub use guards::{InGuest, Left, Sleeping};
pub use made::{Kick, Made, Ticket};
pub use mode::Mode;
pub use not_entered::NotEntered;
pub use request::Request;
pub use set::{Iter, RequestSet};
pub use vcpu_requests::VcpuRequests;

/// The README's examples, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
