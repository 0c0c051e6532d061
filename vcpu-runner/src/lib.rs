// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The thread that runs a vCPU: entries, exits, stop and go.
//!
//! A VMM gives a [`Runner`] a vCPU and a [`Handler`]. The runner's one loop clears the skip flag,
//! handles requests until there are none, enters the guest, leaves it, and hands the exit to the
//! handler. Meanwhile any thread may use a [`VcpuHandle`]: make typed requests
//! ([`vcpu_requests`]), kick, pause, resume, stop, run a closure on the vCPU's thread, wait, and
//! read statistics.
//!
//! ```text
//!   VcpuHandle  --- request --->  one atomic word: requests and mode  <--- enter, leave ---  loop
//!       |                                                                                     |
//!       +--- only if the word says so: skip flag, then signal ------------------> KVM_RUN ----+
//! ```
//!
//! Nothing is polled, no signal is sent twice, nothing sleeps to give something else time. The
//! order of the steps and why no kick can be lost is told in `docs/entry-protocol.md` and checked by the
//! loom models in `src/models/`.
//!
//! # Four things that must not be confused
//!
//! | name | guest instructions | means |
//! |---|---|---|
//! | skip | none | KVM_RUN finishes pending I/O and returns EINTR without entering: [`SkipFlag`] |
//! | kick | any number so far | ends an entry that is under way, or whose requests were looked for already: [`VcpuHandle::kick`] |
//! | immediate exit | as few as possible, but the entry happens | what is injected is delivered, then the guest comes straight back: [`VcpuHandle::immediate_exit`] |
//! | step | one | single step of guest debugging |
//!
//! # Features
//!
//! `scripted`: [`scripted::ScriptedVcpu`], a vCPU that follows a script, for tests of handlers.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod control;
mod deadline;
mod error;
mod exit;
mod exit_kind;
mod gate;
mod group;
mod handle;
mod handler;
mod immediate_exit;
#[cfg(target_arch = "x86_64")]
pub mod kvm;
mod loop_request;
#[cfg(test)]
#[cfg(loom)]
mod models;
mod run_loop;
mod runner;
#[cfg(any(test, feature = "scripted"))]
pub mod scripted;
mod shared;
mod signal;
mod statistics;
mod sync;
mod thread_slot;
mod vcpu;

pub use control::Phase;
pub use deadline::Deadline;
pub use error::{Ending, Error, RunAreaDefect, UnusableSignal};
pub use exit::{DebugExit, Exit};
pub use exit_kind::ExitKind;
pub use group::{pause_all, request_all, resume_all, stop_all};
pub use handle::{PauseAsked, VcpuHandle};
pub use handler::{Flow, Handler};
pub use immediate_exit::{BriefError, BriefRun, Evidence, ImmediateExit, Injection, NotEntered};
pub use runner::{Ended, Outcome, Runner, VcpuThread};
pub use signal::KickSignal;
pub use statistics::Statistics;
pub use vcpu::{RunError, SkipFlag, Vcpu};
