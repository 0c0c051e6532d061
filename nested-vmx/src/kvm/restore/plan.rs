// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The order in which a vCPU is restored.

use kvm_bindings::{KVM_VCPUEVENT_VALID_SMM, kvm_vcpu_events};

use super::error::{Action, Cause, StepError};
use super::port::{Msr, VcpuPort};
use super::step::Step;
use super::vcpu_state::VcpuState;
use crate::kvm::{Context, Errno, NestedState, judge};

/// A restore that is to be performed.
#[derive(Clone, Copy, Debug)]
pub struct RestorePlan<'a> {
    state: &'a VcpuState,
    context: Option<Context<'a>>,
}

impl<'a> RestorePlan<'a> {
    /// The restore of this state.
    pub const fn new(state: &'a VcpuState) -> Self {
        Self {
            state,
            context: None,
        }
    }

    /// The same, where the nested state is judged before anything is done. Whether the vCPU is in
    /// SMM follows from the state.
    pub const fn judged_by(self, context: Context<'a>) -> Self {
        Self {
            context: Some(context),
            ..self
        }
    }

    /// The steps, in order. Steps for which there is nothing are left out.
    pub fn steps(&self) -> impl Iterator<Item = Step> + use<'a> {
        let state = self.state;
        Step::ALL.iter().copied().filter(move |step| match step {
            Step::CapabilityMsrs => !state.capability_msrs.is_empty(),
            // A vCPU that has not run is outside VMX operation, and not every KVM has this.
            Step::NestedState => state.nested != NestedState::off(),
            Step::Smm => state.events.smi.smm != 0,
            // A host without XSAVE has none, and refuses none.
            Step::Xcrs => state.xcrs.nr_xcrs != 0,
            Step::Xsave => state.xsave.is_some(),
            Step::Lapic => state.lapic.is_some(),
            Step::Msrs => !state.msrs.is_empty(),
            _ => true,
        })
    }

    /// Restores the vCPU. It has not run yet, and L1's memory is in place.
    ///
    /// # Errors
    ///
    /// [`StepError`]: the step that failed; those before it are done, those behind it are not. If the
    /// nested state was judged and would be refused, nothing is done.
    pub fn perform<P: VcpuPort + ?Sized>(&self, port: &P) -> Result<(), StepError> {
        if let Some(context) = self.context {
            let context = context.with_smm(self.state.events.smi.smm != 0);
            judge(&self.state.nested, &context)
                .accepted()
                .map_err(|refusal| failed(Step::NestedState, Cause::Refused(refusal)))?;
        }
        self.steps()
            .try_for_each(|step| self.perform_step(step, port))
    }

    fn perform_step<P: VcpuPort + ?Sized>(&self, step: Step, port: &P) -> Result<(), StepError> {
        let state = self.state;
        let result = match step {
            Step::Cpuid => port.set_cpuid(&state.cpuid),
            Step::CapabilityMsrs => return set_msrs(step, port, &state.capability_msrs),
            Step::Sregs => port.set_sregs(&state.sregs),
            Step::Smm => port.set_vcpu_events(&only_smm(&state.events)),
            Step::NestedState => port.set_nested_state(&state.nested),
            Step::Regs => port.set_regs(&state.regs),
            Step::Xcrs => port.set_xcrs(&state.xcrs),
            Step::Fpu => port.set_fpu(&state.fpu),
            Step::Xsave => match &state.xsave {
                Some(xsave) => port.set_xsave(xsave),
                None => Ok(()),
            },
            Step::DebugRegs => port.set_debug_regs(&state.debug_regs),
            Step::Lapic => match &state.lapic {
                Some(lapic) => port.set_lapic(lapic),
                None => Ok(()),
            },
            Step::Msrs => return set_msrs(step, port, &state.msrs),
            Step::VcpuEvents => port.set_vcpu_events(&state.events),
            Step::MpState => port.set_mp_state(state.mp_state),
        };
        result.map_err(|errno| failed(step, Cause::Errno(errno)))
    }
}

const fn failed(step: Step, cause: Cause) -> StepError {
    StepError {
        action: Action::Write,
        step,
        cause,
    }
}

/// How many MSRs one ioctl takes (kernel, `MAX_IO_MSRS`).
const AT_ONCE: usize = 256;

fn set_msrs<P: VcpuPort + ?Sized>(step: Step, port: &P, msrs: &[Msr]) -> Result<(), StepError> {
    for part in msrs.chunks(AT_ONCE) {
        let count = port
            .set_msrs(part)
            .map_err(|errno: Errno| failed(step, Cause::Errno(errno)))?;
        if let Some(&refused) = part.get(count) {
            return Err(failed(step, Cause::Msr(refused)));
        }
    }
    Ok(())
}

/// Just that the vCPU is in SMM.
fn only_smm(events: &kvm_vcpu_events) -> kvm_vcpu_events {
    let mut only = kvm_vcpu_events {
        flags: KVM_VCPUEVENT_VALID_SMM,
        ..kvm_vcpu_events::default()
    };
    only.smi.smm = events.smi.smm;
    only.smi.smm_inside_nmi = events.smi.smm_inside_nmi;
    only
}
