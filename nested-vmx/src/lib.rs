// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! L0's side of nested VMX.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod capability;
pub mod controls;
pub mod exit_reason;
pub mod instruction_error;
pub mod memory;
pub mod msrs;
pub mod registers;
pub mod vmcs;
