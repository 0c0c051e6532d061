// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The conditions of the rules, one function each: what breaks the rule, or nothing.

pub(super) mod basic;
pub(super) mod entry_controls;
pub(super) mod execution_controls;
pub(super) mod exit_controls;
pub(super) mod guest_fred;
pub(super) mod guest_non_register;
pub(super) mod guest_registers;
pub(super) mod guest_rip_and_flags;
pub(super) mod guest_segments;
pub(super) mod host;
pub(super) mod injection;
pub(super) mod msr_load;
pub(super) mod pdptes;
pub(super) mod tables;
mod values;
