// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Why a guest could not be run.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::boot::BootError;
use crate::kvm_device::KvmError;
use crate::memory::MemoryError;
use crate::soft::SoftMachineError;
use crate::summary::SummaryError;
use crate::vcpu_setup::VcpuSetupError;
use crate::vm::VmError;

/// Why there was no run, or why its summary is missing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VmmError {
    /// KVM cannot be used.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// More vCPUs than this host's KVM has.
    #[error("{num} vCPUs are more than this host's KVM allows ({max}): lower --vcpu num")]
    TooManyVcpus {
        /// What was asked for.
        num: u8,
        /// KVM_CAP_MAX_VCPUS.
        max: usize,
    },
    /// The guest's memory cannot be had.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The guest cannot be set up: kernel, initrd, command line.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// KVM refused something.
    #[error("KVM refused to make the machine: {0}")]
    Vm(#[from] VmError),
    /// A vCPU cannot be set up.
    #[error("KVM refused to set up a vCPU: {0}")]
    VcpuSetup(#[from] VcpuSetupError),
    /// A vCPU cannot be run.
    #[error(transparent)]
    Vcpu(#[from] vcpu_runner::Error),
    /// An output is also named as something else.
    #[error(
        "{flag} and {other} both name {path:?}, which would be lost; choose another file for {flag}"
    )]
    SameFile {
        /// The file.
        path: PathBuf,
        /// The flag that has it written.
        flag: &'static str,
        /// The other flag that names it.
        other: &'static str,
    },
    /// The machine with VMX in software cannot be made.
    #[error("cannot make the machine with VMX in software: {0}")]
    Soft(#[from] SoftMachineError),
    /// More than one vCPU with VMX in software.
    #[error("VMX in software is for one vCPU, and {num} were asked for")]
    NestedVcpus {
        /// What was asked for.
        num: u8,
    },
    /// The debug exit port is another device's.
    #[error(
        "the debug exit ports {port:#x} to {last:#x} are in the way of the {device}; choose another --debug-exit port (0xf4 is free)"
    )]
    DebugExitPort {
        /// The first one.
        port: u16,
        /// The last one.
        last: u16,
        /// The device.
        device: &'static str,
    },
    /// The console's file cannot be opened.
    #[error(
        "cannot open {path:?} for the console's output: {source}; choose another --serial file"
    )]
    SerialFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The summary could not be written to its place, as was found out before the run.
    #[error("{0}; choose another --summary file")]
    SummaryPath(SummaryError),
    /// The summary cannot be written, after the run.
    #[error(transparent)]
    Summary(SummaryError),
    /// The host refused something else.
    #[error("cannot {what}: {source}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// To say what was tried.
pub(super) fn host(what: &'static str) -> impl Fn(io::Error) -> VmmError {
    move |source| VmmError::Host { what, source }
}
