// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the crate guarantees, as models that loom runs through every execution that Rust's memory
//! model allows. They are small enough to be read as the specification.
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test -p vcpu-requests --release --test loom
//! ```
//!
//! | file | guarantee |
//! |---|---|
//! | `entry` | a request is seen before the entry, or its maker learns that it must kick; one kick per stay |
//! | `skip_flag` | with `kvm_run.immediate_exit` and a signal, that kick always ends the entry |
//! | `wait` | a maker with WAIT goes on only after the vCPU has left guest mode |
//! | `pass` | what is asked while requests are handled is handled before the entry |
//! | `sleep` | a sleeping vCPU is woken, once, unless NO_WAKEUP |
//! | `data` | what is written before a request is made is visible after it was found |
//! | `broadcast` | vCPUs that ask one another and wait do not wait for ever |
//!
//! `Arc` is std's throughout: that it works is not the question, and unlike loom's it can be dropped
//! while a failing execution is torn down.
//!
//! A model that cannot fail proves nothing. So most are written against a small trait, run with the
//! crate's word and with a broken one, and the test of the broken one passes only if loom finds the
//! execution that breaks it.

#![cfg(loom)]
#![allow(
    clippy::arc_with_non_send_sync,
    reason = "loom's cells are for its threads, though the type system does not know"
)]
#![allow(clippy::panic, clippy::unwrap_used, reason = "all of this is tests")]

mod broadcast;
mod data;
mod entry;
mod pass;
mod skip_flag;
mod sleep;
mod wait;

use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};

use vcpu_requests::{InGuest, Left, requests};

requests! {
    /// One of each kind.
    enum Ask {
        Event = 0,
        Timer = 1,
        FlushTlb = 2: WAIT | NO_WAKEUP,
        Poke = 3: NO_ACTION,
    }
}

type VcpuRequests = vcpu_requests::VcpuRequests<Ask>;

/// Runs `guest` in guest mode.
///
/// Should loom stop the execution meanwhile, the guard must not leave guest mode: loom's atomics
/// cannot be used any more by then.
fn stay(inside: InGuest<'_, Ask>, guest: impl FnOnce()) -> Left {
    let inside = ManuallyDrop::new(inside);
    guest();
    ManuallyDrop::into_inner(inside).leave()
}

/// Has loom look for an execution of `model` that fails with `message`.
fn loom_finds(message: &str, model: impl Fn() + Sync + Send + 'static) {
    let Err(payload) = catch_unwind(AssertUnwindSafe(|| loom::model(model))) else {
        panic!("loom finds no execution that fails with: {message}");
    };
    let found = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("a panic that is no text");
    assert!(found.contains(message), "another failure: {found}");
}
