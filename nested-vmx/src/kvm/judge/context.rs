// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the judgement depends on beside the state.

use core::fmt;

use crate::capability::Capabilities;
use crate::memory::L1Memory;

/// The vCPU that is to get the state.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The capability MSRs that the vCPU will have when the state is set, and what its CPUID says
    /// beside them, the physical-address width too. See [`Offered`](crate::kvm::Offered).
    pub capabilities: &'a Capabilities,
    /// Whether the vCPU's CPUID has VMX (CPUID.01H:ECX bit 5).
    pub vmx_in_cpuid: bool,
    /// Whether the vCPU is in SMM when the state is set: `smi.smm` of its vCPU events.
    pub in_smm: bool,
    /// Whether the capability `KVM_CAP_HYPERV_ENLIGHTENED_VMCS` was enabled.
    pub enlightened_vmcs: bool,
    /// L1's memory, if it is there already. Without it, what is in memory is taken to be right: the
    /// VMCS that vmcs12 links to, and what the processor looks at.
    pub memory: Option<&'a dyn L1Memory>,
}

impl<'a> Context<'a> {
    /// A vCPU outside SMM with VMX in CPUID if it has these capabilities, without enlightened VMCSs
    /// and without memory.
    pub const fn new(capabilities: &'a Capabilities) -> Self {
        Self {
            capabilities,
            vmx_in_cpuid: capabilities.basic.revision() != 0,
            in_smm: false,
            enlightened_vmcs: false,
            memory: None,
        }
    }

    /// The same with L1's memory.
    pub const fn with_memory(self, memory: &'a dyn L1Memory) -> Self {
        Self {
            memory: Some(memory),
            ..self
        }
    }

    /// The same, in SMM or not.
    pub const fn with_smm(self, in_smm: bool) -> Self {
        Self { in_smm, ..self }
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("vmx_in_cpuid", &self.vmx_in_cpuid)
            .field("in_smm", &self.in_smm)
            .field("enlightened_vmcs", &self.enlightened_vmcs)
            .field("has_memory", &self.memory.is_some())
            .finish_non_exhaustive()
    }
}
