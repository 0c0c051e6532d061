// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Everything of a vCPU that a restore sets.

use alloc::vec::Vec;

use kvm_bindings::{
    CpuId, kvm_debugregs, kvm_fpu, kvm_lapic_state, kvm_mp_state, kvm_regs, kvm_sregs,
    kvm_vcpu_events, kvm_xcrs,
};

use super::error::{Action, Cause, StepError};
use super::port::{Msr, VcpuPort, readable};
use super::step::Step;
use crate::capability::msr;
use crate::kvm::{Errno, NestedState, Whereabouts};

/// The capability MSRs that KVM takes back, in the order in which it must get them: whether the
/// timer's rate in IA32_VMX_MISC counts depends on the controls. The others follow from these, or
/// from CPUID.
const CAPABILITY_MSRS: &[u32] = &[
    msr::FEATURE_CONTROL,
    msr::BASIC,
    msr::TRUE_PINBASED_CTLS,
    msr::TRUE_PROCBASED_CTLS,
    msr::TRUE_EXIT_CTLS,
    msr::TRUE_ENTRY_CTLS,
    msr::PROCBASED_CTLS2,
    msr::MISC,
    msr::CR0_FIXED0,
    msr::CR4_FIXED0,
    msr::VMCS_ENUM,
    msr::EPT_VPID_CAP,
    msr::VMFUNC,
];

/// A vCPU, read.
#[derive(Clone, Debug, PartialEq)]
pub struct VcpuState {
    /// CPUID.
    pub cpuid: CpuId,
    /// IA32_FEATURE_CONTROL and the VMX capability MSRs that can be restored; none where the vCPU
    /// has no VMX.
    pub capability_msrs: Vec<Msr>,
    /// Segment and control registers, of the guest that runs: L2's, if L2 is active.
    pub sregs: kvm_sregs,
    /// VMX operation and L2.
    pub nested: NestedState,
    /// General-purpose registers, of the guest that runs.
    pub regs: kvm_regs,
    /// XCR0.
    pub xcrs: kvm_xcrs,
    /// x87 and SSE registers.
    pub fpu: kvm_fpu,
    /// The words of the XSAVE area, from a port that has it.
    pub xsave: Option<Vec<u32>>,
    /// Debug registers.
    pub debug_regs: kvm_debugregs,
    /// The local APIC, where it is KVM's.
    pub lapic: Option<kvm_lapic_state>,
    /// All other MSRs that are to be restored.
    pub msrs: Vec<Msr>,
    /// Events, and what blocks them.
    pub events: kvm_vcpu_events,
    /// Whether the vCPU runs, halts, or waits for a start-up IPI.
    pub mp_state: kvm_mp_state,
}

/// A step that could not be read.
fn reading<T>(step: Step, result: Result<T, Errno>) -> Result<T, StepError> {
    result.map_err(|errno| StepError {
        action: Action::Read,
        step,
        cause: Cause::Errno(errno),
    })
}

impl VcpuState {
    /// Reads a vCPU that does not run. `msrs` are the MSRs to be restored beside the capability
    /// MSRs, as KVM_GET_MSR_INDEX_LIST has them; those that this vCPU does not have are left out.
    ///
    /// # Errors
    ///
    /// [`StepError`], which says what could not be read.
    pub fn get<P: VcpuPort + ?Sized>(port: &P, msrs: &[u32]) -> Result<Self, StepError> {
        // First, since KVM takes INIT and start-up IPIs with it, and those leave VMX operation; then
        // the events, since KVM takes an SMI with them.
        let mp_state = reading(Step::MpState, port.mp_state())?;
        let events = reading(Step::VcpuEvents, port.vcpu_events())?;
        let others: Vec<u32> = msrs
            .iter()
            .copied()
            .filter(|index| !msr::ALL.contains(index))
            .collect();
        let read = reading(Step::Msrs, readable(port, &others))?;
        Ok(Self {
            cpuid: reading(Step::Cpuid, port.cpuid())?,
            capability_msrs: reading(Step::CapabilityMsrs, readable(port, CAPABILITY_MSRS))?,
            sregs: reading(Step::Sregs, port.sregs())?,
            nested: match port.nested_state() {
                // This KVM has no nested virtualization.
                Err(Errno::EINVAL | Errno::ENOTTY) => NestedState::off(),
                other => reading(Step::NestedState, other)?,
            },
            regs: reading(Step::Regs, port.regs())?,
            xcrs: reading(Step::Xcrs, port.xcrs())?,
            fpu: reading(Step::Fpu, port.fpu())?,
            xsave: reading(Step::Xsave, port.xsave())?,
            debug_regs: reading(Step::DebugRegs, port.debug_regs())?,
            lapic: match port.lapic() {
                // It is not KVM's.
                Err(Errno::EINVAL) => None,
                other => Some(reading(Step::Lapic, other)?),
            },
            msrs: read,
            events,
            mp_state,
        })
    }

    /// Where the vCPU is, and what is on its way into L2.
    pub fn whereabouts(&self) -> Whereabouts {
        self.nested.whereabouts(&self.events)
    }
}
