// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What all vCPUs get before they run: CPUID, MSRs, the local APIC's pins.

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::{Cap, Kvm, VcpuFd};
use thiserror::Error;
use vmm_sys_util::errno;

use crate::cpuid::{self, Machine};
use crate::lapic;
use crate::msrs::{self, MsrError};
use crate::vm::{VmError, ioctl};

/// A vCPU cannot be set up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VcpuSetupError {
    /// KVM refused something.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// KVM refused an MSR.
    #[error(transparent)]
    Msr(#[from] MsrError),
}

/// What the host's KVM offers to its vCPUs: asked once, for all of them.
#[derive(Debug)]
pub struct VcpuSetup {
    cpuid: CpuId,
    msrs: Vec<u32>,
    tsc_deadline_timer: bool,
}

impl VcpuSetup {
    /// Asks.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn new(kvm: &Kvm) -> Result<Self, VmError> {
        Ok(Self {
            cpuid: kvm
                .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
                .map_err(ioctl("KVM_GET_SUPPORTED_CPUID"))?,
            msrs: kvm
                .get_msr_index_list()
                .map_err(ioctl("KVM_GET_MSR_INDEX_LIST"))?
                .as_slice()
                .to_vec(),
            tsc_deadline_timer: kvm.check_extension(Cap::TscDeadlineTimer),
        })
    }

    /// Sets up vCPU `index` of `count`.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn apply(&self, vcpu: &VcpuFd, index: u8, count: u8) -> Result<(), VcpuSetupError> {
        let machine = Machine {
            vcpus: count,
            tsc_deadline_timer: self.tsc_deadline_timer,
            // A host whose TSC is unstable does not know.
            tsc_khz: vcpu.get_tsc_khz().ok(),
        };
        self.show(vcpu, &machine, index, |_| {})?;
        Ok(lapic::set_pins(vcpu)?)
    }

    /// Sets up the only vCPU of a machine in which the VMM has the local APIC. `edit` changes what
    /// CPUID shows.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn apply_with(
        &self,
        vcpu: &VcpuFd,
        edit: impl FnOnce(&mut [kvm_cpuid_entry2]),
    ) -> Result<(), VcpuSetupError> {
        let machine = Machine {
            vcpus: 1,
            // The VMM's own has the other modes.
            tsc_deadline_timer: false,
            tsc_khz: vcpu.get_tsc_khz().ok(),
        };
        self.show(vcpu, &machine, 0, edit)
    }

    fn show(
        &self,
        vcpu: &VcpuFd,
        machine: &Machine,
        index: u8,
        edit: impl FnOnce(&mut [kvm_cpuid_entry2]),
    ) -> Result<(), VcpuSetupError> {
        let mut entries = cpuid::for_vcpu(self.cpuid.as_slice(), machine, index);
        edit(&mut entries);
        let cpuid = CpuId::from_entries(&entries).map_err(|_| VmError {
            ioctl: "KVM_SET_CPUID2",
            source: errno::Error::new(libc::E2BIG),
        })?;
        vcpu.set_cpuid2(&cpuid).map_err(ioctl("KVM_SET_CPUID2"))?;
        Ok(msrs::set_at_boot(vcpu, &self.msrs)?)
    }
}
