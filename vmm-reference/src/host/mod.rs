// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What this host's KVM can do, each line measured or asked, none guessed.
//!
//! [`HostReport::gather`] asks KVM for its capabilities and runs small guests of a few
//! instructions to see what really happens: how fast guest kernel code runs, which instructions it
//! may use, whether a single step stops and the skip flag skips, and how short an entry can be made. From these it follows whether
//! Linux can boot ([`Verdict`]).

mod debug;
mod instructions;
mod json;
mod mechanisms;
mod nested;
mod speed;
mod text;
mod verdict;

use std::path::Path;

use kvm_ioctls::{Cap, Kvm};
pub use vcpu_runner::kvm::ProbeError;
use vcpu_runner::kvm::immediate_exit::HostMechanisms;

use crate::kvm_device::{self, CAPABILITIES, KvmError};

pub use debug::Works;
pub use instructions::{INSTRUCTIONS, Instruction, Ran};
pub use nested::{Missing, NestedVmx};
pub use speed::Speed;
pub use verdict::Verdict;

/// What was found.
#[derive(Debug)]
pub struct HostReport {
    /// KVM_GET_API_VERSION.
    pub api_version: i32,
    /// The number of vCPUs that a VM can have.
    pub max_vcpus: usize,
    /// The number of vCPUs that KVM recommends.
    pub recommended_vcpus: usize,
    /// What KVM_CHECK_EXTENSION said of each of [`CAPABILITIES`].
    pub capabilities: Vec<(&'static str, i32)>,
    /// The largest nested state in bytes; `None`: KVM has none.
    pub nested_state: Option<u32>,
    /// Whether a guest can use VMX, and what of it.
    pub nested_vmx: NestedVmx,
    /// How fast guest kernel code runs.
    pub speed: Result<Speed, ProbeError>,
    /// Which instructions guest kernel code may use.
    pub instructions: Vec<(&'static str, Result<Ran, ProbeError>)>,
    /// Whether a single step stops after one instruction.
    pub single_step: Result<Works, ProbeError>,
    /// Whether `kvm_run.immediate_exit` makes KVM_RUN come back without entering: the skip flag.
    pub immediate_exit: Result<Works, ProbeError>,
    /// What each mechanism lets through that enters the guest and comes straight back.
    pub mechanisms: Result<HostMechanisms, ProbeError>,
}

impl HostReport {
    /// Asks and measures the KVM at `path`. Takes a fraction of a second, or one where the processor is
    /// itself emulated.
    ///
    /// # Errors
    /// When there is no KVM to ask.
    pub fn gather(path: &Path) -> Result<Self, KvmError> {
        let kvm = kvm_device::open_unchecked(path)?;
        let capabilities = CAPABILITIES
            .iter()
            .map(|capability| (capability.name, kvm.check_extension_int(capability.cap)))
            .collect();
        Ok(Self {
            api_version: kvm.get_api_version(),
            max_vcpus: kvm.get_max_vcpus(),
            recommended_vcpus: kvm.get_nr_vcpus(),
            capabilities,
            nested_state: nested_state(&kvm),
            nested_vmx: NestedVmx::of(&kvm),
            speed: Speed::measure(&kvm),
            instructions: instructions::probe(&kvm),
            single_step: debug::single_step(&kvm),
            immediate_exit: debug::immediate_exit(&kvm),
            mechanisms: HostMechanisms::measure(&kvm),
        })
    }

    /// Whether Linux can boot here.
    pub fn verdict(&self) -> Verdict {
        Verdict::of(self)
    }
}

fn nested_state(kvm: &Kvm) -> Option<u32> {
    u32::try_from(kvm.check_extension_int(Cap::NestedState))
        .ok()
        .filter(|&size| size != 0)
}

#[cfg(test)]
mod tests;
