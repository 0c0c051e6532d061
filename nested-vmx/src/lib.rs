// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! L0's side of nested VMX.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod capability;
pub mod check;
pub mod controls;
pub mod ept;
pub mod exit_reason;
#[cfg(feature = "arbitrary")]
pub mod generate;
pub mod instruction_error;
pub mod interruption;
pub mod l0;
pub mod memory;
#[cfg(feature = "model")]
pub mod model;
pub mod msrs;
pub mod operand;
pub mod registers;
pub mod route;
pub mod vmcs;
