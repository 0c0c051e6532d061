// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What ends a virtual processor that L0 gives VMX to.

use std::io;

use thiserror::Error;
use vcpu_runner::{NotEntered, RunError};

/// Why the virtual processor cannot go on. Nothing that a guest does ends here.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SoftError {
    /// KVM refused an ioctl.
    #[error("{ioctl} failed: {source}")]
    Kvm {
        /// The ioctl's name.
        ioctl: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// KVM_RUN failed, or its exit makes no sense.
    #[error("KVM_RUN failed: {0:?}")]
    Run(RunError),
    /// The immediate exit that L2's entry needed was not made.
    #[error("L2 was to be entered for an event of L1's, and was not: {0}")]
    NotEntered(#[from] NotEntered),
    /// A list of MSRs was longer than KVM takes.
    #[error("more MSRs than KVM takes at once")]
    TooManyMsrs,
    /// The VMM could not give L2 its view of L1's memory.
    #[error("cannot map L2's memory at {guest_physical:#x}: {source}")]
    View {
        /// The guest-physical address in L2.
        guest_physical: u64,
        /// The VMM's error.
        source: io::Error,
    },
    /// The capabilities that L1 was to see contradict each other.
    #[error("these VMX capabilities cannot be offered: {0}")]
    Capabilities(#[from] crate::capability::NarrowError),
}

impl SoftError {
    /// To name the ioctl in the error.
    pub(crate) fn kvm(ioctl: &'static str) -> impl Fn(kvm_ioctls::Error) -> Self {
        move |error| Self::Kvm {
            ioctl,
            source: io::Error::from_raw_os_error(error.errno()),
        }
    }
}
