// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A VM exit from L2 to L1 (SDM volume 3, chapter 29).

mod abort;
mod host_state;
mod information;
mod msr_area;
mod msr_fields;
mod save;

pub use abort::Abort;
pub use information::ExitInformation;

pub(super) use host_state::load as load_host_state;
pub(super) use msr_area::{BadEntry, MsrArea};
pub(super) use save::guest_state as save_guest_state;
