// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! L0's side of nested VMX.
//!
//! L0 runs a guest, L1, that is a hypervisor itself and runs a guest of its own, L2. This crate is
//! what L0 needs for that, and knows no hypervisor: it sees L1's memory, its MSRs and the processor
//! through traits.
//!
//! - [`vmcs`]: a VMCS, its fields and its bytes. [`capability`]: what the virtual processor can do.
//! - [`check`]: whether a VM entry succeeds, and if not, why.
//! - [`operand`]: the operands of VMX instructions. [`ept`]: accesses through L1's extended page
//!   tables. [`route`]: who gets an exit of L2's.
//! - [`l0`]: the state machine that puts it together, driven by L0's run loop. Begin with
//!   [`l0::NestedVmx`].
//! - [`memory`] and [`msrs`]: what of L1 L0 has to give. [`controls`], [`exit_reason`],
//!   [`instruction_error`], [`interruption`], [`registers`]: the SDM's numbers.
#![cfg_attr(
    feature = "arbitrary",
    doc = "- [`generate`]: states that are valid, or break just one rule, from random bytes."
)]
#![cfg_attr(
    all(feature = "kvm", target_arch = "x86_64", target_os = "linux"),
    doc = "- [`kvm`]: KVM's nested state, read, judged and restored."
)]
#![cfg_attr(
    feature = "model",
    doc = "- [`model`]: a model of the processor and of everything else, for tests."
)]
#![cfg_attr(
    all(feature = "soft", target_arch = "x86_64", target_os = "linux"),
    doc = "- [`soft`]: VMX for an L1 on a KVM that has none."
)]
//!
//! Section numbers are those of the Intel 64 and IA-32 Architectures Software Developer's Manual,
//! volume 3.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(all(feature = "soft", target_arch = "x86_64", target_os = "linux"))]
extern crate std;

pub mod capability;
pub mod check;
pub mod controls;
pub mod ept;
pub mod exit_reason;
#[cfg(feature = "arbitrary")]
pub mod generate;
pub mod instruction_error;
pub mod interruption;
#[cfg(all(feature = "kvm", target_arch = "x86_64", target_os = "linux"))]
pub mod kvm;
pub mod l0;
pub mod memory;
#[cfg(feature = "model")]
pub mod model;
pub mod msrs;
pub mod operand;
pub mod paging;
pub mod registers;
pub mod route;
#[cfg(all(feature = "soft", target_arch = "x86_64", target_os = "linux"))]
pub mod soft;
pub mod vmcs;

/// The README's examples, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
