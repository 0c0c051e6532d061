// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The protocol, checked by loom in every order that its steps can take with up to seven (in the
//! larger models five) involuntary switches between threads:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p vcpu-runner --release --lib models
//! ```
//!
//! The loop, the gate and the control under test are the crate's own; [`machine`] stands in for
//! KVM_RUN and for signals. A kick that is lost leaves the vCPU in the guest for ever, which loom
//! reports as a deadlock. Beside the rules are variants that break them, and loom must find out: a
//! model that cannot fail proves nothing.

mod broken;
mod directing;
mod immediate_exit;
mod kicks;
mod machine;
mod sleeping;
mod thread_end;
mod waiting;
