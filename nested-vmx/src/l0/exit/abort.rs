// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! VMX aborts (SDM volume 3, section 29.7).

use thiserror::Error;

/// A VM exit failed: L1 cannot go on, and its processor shuts down. The number is what is written
/// to the VMX-abort indicator of the vmcs12 region.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Abort {
    /// The VM-exit MSR-store area.
    #[error("VMX abort 1: an MSR of the VM-exit MSR-store area could not be saved")]
    SavingMsrs = 1,
    /// The PDPTEs of a host with PAE paging.
    #[error("VMX abort 2: the page-directory-pointer-table entries of the host are not valid")]
    HostPdptes = 2,
    /// The VMCS cannot be used any more.
    #[error("VMX abort 3: the current VMCS is corrupted")]
    CorruptedVmcs = 3,
    /// The VM-exit MSR-load area.
    #[error("VMX abort 4: an MSR of the VM-exit MSR-load area could not be loaded")]
    LoadingMsrs = 4,
    /// A machine check during the VM exit.
    #[error("VMX abort 5: machine-check event during the VM exit")]
    MachineCheck = 5,
    /// The processor was in IA-32e mode and the host is not.
    #[error("VMX abort 6: the processor was in IA-32e mode and \"host address-space size\" is 0")]
    HostAddressSpace = 6,
}

impl Abort {
    /// Its number.
    pub const fn indicator(self) -> u32 {
        self as u32
    }
}
