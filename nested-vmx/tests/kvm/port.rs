// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A vCPU that keeps a record of what is done to it, and knows KVM's order.

use std::cell::{Cell, RefCell};

use kvm_bindings::{
    CpuId, kvm_cpuid_entry2, kvm_debugregs, kvm_fpu, kvm_lapic_state, kvm_mp_state, kvm_regs,
    kvm_sregs, kvm_vcpu_events, kvm_xcrs,
};
use nested_vmx::capability::msr;
use nested_vmx::kvm::{Errno, Msr, NestedState, Step, VcpuPort};

use crate::states::capabilities;

/// The record.
#[derive(Default)]
pub struct FakeVcpu {
    pub steps: RefCell<Vec<Step>>,
    /// The step that fails, and how.
    pub fails: Option<(Step, Errno)>,
    /// The MSR that is not taken.
    pub refuses_msr: Option<u32>,
    pub smm: Cell<u8>,
    pub nested: RefCell<NestedState>,
    pub tsc_deadline: Cell<u64>,
    pub in_vmx_operation: Cell<bool>,
    pub has_lapic: Cell<bool>,
}

/// IA32_TSC_DEADLINE, IA32_SYSENTER_EIP.
pub const MSRS: [u32; 2] = [0x6e0, 0x176];

impl FakeVcpu {
    /// A restore without nested state is past it.
    fn has_regs(&self) -> bool {
        self.steps.borrow().contains(&Step::Regs)
    }

    fn did(&self, step: Step) -> Result<(), Errno> {
        if let Some((fails, errno)) = self.fails
            && fails == step
        {
            return Err(errno);
        }
        self.steps.borrow_mut().push(step);
        Ok(())
    }
}

/// VMX in CPUID, 40 bits of physical addresses.
pub fn cpuid() -> CpuId {
    let leaf = |function, eax, ecx| kvm_cpuid_entry2 {
        function,
        eax,
        ecx,
        ..kvm_cpuid_entry2::default()
    };
    let leaves = [leaf(1, 0, 1 << 5), leaf(0x8000_0008, 40, 0)];
    CpuId::from_entries(&leaves).expect("two entries")
}

impl VcpuPort for FakeVcpu {
    fn cpuid(&self) -> Result<CpuId, Errno> {
        Ok(cpuid())
    }

    fn set_cpuid(&self, _: &CpuId) -> Result<(), Errno> {
        self.did(Step::Cpuid)
    }

    fn msrs(&self, indices: &[u32]) -> Result<Vec<Msr>, Errno> {
        let read = |&index: &u32| {
            let value = match index {
                _ if self.refuses_msr == Some(index) => return None,
                0x6e0 => self.tsc_deadline.get(),
                0x176 => 7,
                _ => capabilities().msr(index)?,
            };
            Some(Msr { index, value })
        };
        Ok(indices.iter().map_while(read).collect())
    }

    fn set_msrs(&self, msrs: &[Msr]) -> Result<usize, Errno> {
        let is_capability = msrs.iter().any(|m| msr::ALL.contains(&m.index));
        self.did(match is_capability {
            true => Step::CapabilityMsrs,
            false => Step::Msrs,
        })?;
        let taken = msrs.iter().take_while(|m| {
            let busy = self.in_vmx_operation.get() && (0x480..=0x491).contains(&m.index);
            if m.index == 0x6e0 && self.has_lapic.get() {
                self.tsc_deadline.set(m.value);
            }
            !busy && self.refuses_msr != Some(m.index)
        });
        Ok(taken.count())
    }

    fn sregs(&self) -> Result<kvm_sregs, Errno> {
        Ok(kvm_sregs::default())
    }

    fn set_sregs(&self, _: &kvm_sregs) -> Result<(), Errno> {
        self.did(Step::Sregs)
    }

    fn regs(&self) -> Result<kvm_regs, Errno> {
        Ok(kvm_regs::default())
    }

    fn set_regs(&self, _: &kvm_regs) -> Result<(), Errno> {
        self.did(Step::Regs)
    }

    fn xcrs(&self) -> Result<kvm_xcrs, Errno> {
        Ok(kvm_xcrs {
            nr_xcrs: 1,
            ..kvm_xcrs::default()
        })
    }

    fn set_xcrs(&self, _: &kvm_xcrs) -> Result<(), Errno> {
        self.did(Step::Xcrs)
    }

    fn fpu(&self) -> Result<kvm_fpu, Errno> {
        Ok(kvm_fpu::default())
    }

    fn set_fpu(&self, _: &kvm_fpu) -> Result<(), Errno> {
        self.did(Step::Fpu)
    }

    fn debug_regs(&self) -> Result<kvm_debugregs, Errno> {
        Ok(kvm_debugregs::default())
    }

    fn set_debug_regs(&self, _: &kvm_debugregs) -> Result<(), Errno> {
        self.did(Step::DebugRegs)
    }

    fn nested_state(&self) -> Result<NestedState, Errno> {
        Ok(self.nested.borrow().clone())
    }

    fn set_nested_state(&self, state: &NestedState) -> Result<(), Errno> {
        self.did(Step::NestedState)?;
        if !state.smm_flags().is_empty() && self.smm.get() == 0 {
            return Err(Errno::EINVAL);
        }
        self.in_vmx_operation.set(state.vmxon().is_some());
        self.nested.replace(state.clone());
        Ok(())
    }

    fn lapic(&self) -> Result<kvm_lapic_state, Errno> {
        Ok(kvm_lapic_state::default())
    }

    fn set_lapic(&self, _: &kvm_lapic_state) -> Result<(), Errno> {
        self.has_lapic.set(true);
        self.did(Step::Lapic)
    }

    fn vcpu_events(&self) -> Result<kvm_vcpu_events, Errno> {
        let mut events = kvm_vcpu_events::default();
        events.smi.smm = self.smm.get();
        Ok(events)
    }

    fn set_vcpu_events(&self, events: &kvm_vcpu_events) -> Result<(), Errno> {
        let before = self.steps.borrow().contains(&Step::NestedState);
        self.did(if before || self.has_regs() {
            Step::VcpuEvents
        } else {
            Step::Smm
        })?;
        // KVM throws the nested state away.
        if self.smm.replace(events.smi.smm) != events.smi.smm {
            self.nested.replace(NestedState::off());
            self.in_vmx_operation.set(false);
        }
        Ok(())
    }

    fn mp_state(&self) -> Result<kvm_mp_state, Errno> {
        Ok(kvm_mp_state::default())
    }

    fn set_mp_state(&self, _: kvm_mp_state) -> Result<(), Errno> {
        self.did(Step::MpState)
    }
}
