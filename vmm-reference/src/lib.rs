// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A reference VMM that boots Linux, wired from rust-vmm crates.
//!
//! [`vmm::run`] boots what a [`config::VmmConfig`] describes and tells how it ended; the binary adds
//! [`cli`] before it and [`exit_status`] behind it. [`host::HostReport`] tells what this host's KVM
//! can do.
//!
//! ```no_run
//! use vmm_reference::{config::VmmConfig, vmm};
//!
//! let mut config = VmmConfig::new("vmlinuz");
//! config.vcpus.num = 2;
//! let outcome = vmm::run(&config)?;
//! println!("{outcome}");
//! # Ok::<(), vmm::VmmError>(())
//! ```

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
mod output_path;
pub mod signals;
pub mod soft;
pub mod summary;
pub mod terminal;
pub mod vcpu_handler;
pub mod vcpu_setup;
pub mod vcpu_threads;
pub mod vm;
pub mod vmm;
