// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A reference VMM that boots Linux, wired from rust-vmm crates.

pub mod acpi;
pub mod boot;
pub mod cli;
pub mod config;
pub mod cpuid;
pub mod devices;
pub mod exit_status;
pub mod guest_instruction;
pub mod host;
pub mod image_file;
pub mod initrd;
pub mod internal_error;
pub mod kernel;
pub mod kvm_device;
pub mod lapic;
pub mod layout;
pub mod logging;
pub mod memory;
pub mod msrs;
pub mod outcome;
pub mod signals;
pub mod summary;
pub mod terminal;
pub mod vcpu_handler;
pub mod vcpu_setup;
pub mod vcpu_threads;
pub mod vm;
pub mod vmm;
