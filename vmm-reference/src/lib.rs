// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A reference VMM that boots Linux, wired from rust-vmm crates.

pub mod acpi;
pub mod boot;
pub mod cli;
pub mod config;
pub mod cpuid;
pub mod devices;
pub mod host;
pub mod image_file;
pub mod initrd;
pub mod kernel;
pub mod kvm_device;
pub mod layout;
pub mod memory;
pub mod msrs;
pub mod terminal;
