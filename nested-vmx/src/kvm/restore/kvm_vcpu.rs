// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A vCPU of KVM's.

use alloc::vec::Vec;

use kvm_bindings::nested::KvmNestedStateBuffer;
use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, Msrs, kvm_debugregs, kvm_fpu, kvm_lapic_state, kvm_mp_state,
    kvm_msr_entry, kvm_regs, kvm_sregs, kvm_vcpu_events, kvm_xcrs,
};
use kvm_ioctls::VcpuFd;

use super::port::{Msr, VcpuPort};
use crate::kvm::{Errno, NestedState};

/// The port to a vCPU of kvm-ioctls.
///
/// It has no KVM_SET_XSAVE, which is `unsafe` in kvm-ioctls: the x87 and SSE registers are restored,
/// AVX and later ones are not. A VMM whose guests use those wraps this port and adds
/// [`VcpuPort::xsave`] and [`VcpuPort::set_xsave`].
#[derive(Debug)]
pub struct KvmVcpu<'a>(pub &'a VcpuFd);

/// The list of MSRs that KVM takes.
pub(super) fn list(entries: &[kvm_msr_entry]) -> Result<Msrs, Errno> {
    Msrs::from_entries(entries).map_err(|_| Errno::E2BIG)
}

/// The first `count` entries of the list.
pub(super) fn entries(list: &Msrs, count: usize) -> Vec<Msr> {
    let entries = list.as_slice().iter().take(count);
    entries
        .map(|entry| Msr {
            index: entry.index,
            value: entry.data,
        })
        .collect()
}

/// An entry that asks for this MSR.
pub(super) fn asking(index: u32) -> kvm_msr_entry {
    kvm_msr_entry {
        index,
        ..kvm_msr_entry::default()
    }
}

impl VcpuPort for KvmVcpu<'_> {
    fn cpuid(&self) -> Result<CpuId, Errno> {
        Ok(self.0.get_cpuid2(KVM_MAX_CPUID_ENTRIES)?)
    }

    fn set_cpuid(&self, cpuid: &CpuId) -> Result<(), Errno> {
        Ok(self.0.set_cpuid2(cpuid)?)
    }

    fn msrs(&self, indices: &[u32]) -> Result<Vec<Msr>, Errno> {
        let asked: Vec<_> = indices.iter().map(|&index| asking(index)).collect();
        let mut list = list(&asked)?;
        let count = self.0.get_msrs(&mut list)?;
        Ok(entries(&list, count))
    }

    fn set_msrs(&self, msrs: &[Msr]) -> Result<usize, Errno> {
        let given: Vec<_> = msrs
            .iter()
            .map(|msr| kvm_msr_entry {
                data: msr.value,
                ..asking(msr.index)
            })
            .collect();
        Ok(self.0.set_msrs(&list(&given)?)?)
    }

    fn sregs(&self) -> Result<kvm_sregs, Errno> {
        Ok(self.0.get_sregs()?)
    }

    fn set_sregs(&self, sregs: &kvm_sregs) -> Result<(), Errno> {
        Ok(self.0.set_sregs(sregs)?)
    }

    fn regs(&self) -> Result<kvm_regs, Errno> {
        Ok(self.0.get_regs()?)
    }

    fn set_regs(&self, regs: &kvm_regs) -> Result<(), Errno> {
        Ok(self.0.set_regs(regs)?)
    }

    fn xcrs(&self) -> Result<kvm_xcrs, Errno> {
        Ok(self.0.get_xcrs()?)
    }

    fn set_xcrs(&self, xcrs: &kvm_xcrs) -> Result<(), Errno> {
        Ok(self.0.set_xcrs(xcrs)?)
    }

    fn fpu(&self) -> Result<kvm_fpu, Errno> {
        Ok(self.0.get_fpu()?)
    }

    fn set_fpu(&self, fpu: &kvm_fpu) -> Result<(), Errno> {
        Ok(self.0.set_fpu(fpu)?)
    }

    fn debug_regs(&self) -> Result<kvm_debugregs, Errno> {
        Ok(self.0.get_debug_regs()?)
    }

    fn set_debug_regs(&self, debug_regs: &kvm_debugregs) -> Result<(), Errno> {
        Ok(self.0.set_debug_regs(debug_regs)?)
    }

    fn nested_state(&self) -> Result<NestedState, Errno> {
        let mut buffer = KvmNestedStateBuffer::empty();
        self.0.nested_state(&mut buffer)?;
        Ok(NestedState::from(&buffer))
    }

    fn set_nested_state(&self, state: &NestedState) -> Result<(), Errno> {
        Ok(self.0.set_nested_state(&state.into())?)
    }

    fn lapic(&self) -> Result<kvm_lapic_state, Errno> {
        Ok(self.0.get_lapic()?)
    }

    fn set_lapic(&self, lapic: &kvm_lapic_state) -> Result<(), Errno> {
        Ok(self.0.set_lapic(lapic)?)
    }

    fn vcpu_events(&self) -> Result<kvm_vcpu_events, Errno> {
        Ok(self.0.get_vcpu_events()?)
    }

    fn set_vcpu_events(&self, events: &kvm_vcpu_events) -> Result<(), Errno> {
        Ok(self.0.set_vcpu_events(events)?)
    }

    fn mp_state(&self) -> Result<kvm_mp_state, Errno> {
        Ok(self.0.get_mp_state()?)
    }

    fn set_mp_state(&self, mp_state: kvm_mp_state) -> Result<(), Errno> {
        Ok(self.0.set_mp_state(mp_state)?)
    }
}
