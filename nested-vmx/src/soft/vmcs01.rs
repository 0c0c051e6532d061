// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What L1 is offered and run with.

use crate::capability::{Capabilities, NarrowError, Processor};
use crate::controls::{
    EntryControls, ExitControls, PinControls, PrimaryControls, SecondaryControls,
};
use crate::vmcs::{Field, Vmcs};

/// What needs hardware that nothing here stands in for: virtual APICs and posted interrupts, XSAVES
/// with its bitmap, a stop after so many PAUSEs, modes for user code in EPT, a log of dirty pages.
const NOT_OFFERED: SecondaryControls = SecondaryControls::VIRTUALIZE_APIC_ACCESSES
    .union(SecondaryControls::VIRTUALIZE_X2APIC_MODE)
    .union(SecondaryControls::APIC_REGISTER_VIRTUALIZATION)
    .union(SecondaryControls::VIRTUAL_INTERRUPT_DELIVERY)
    .union(SecondaryControls::PAUSE_LOOP_EXITING)
    .union(SecondaryControls::ENABLE_PML)
    .union(SecondaryControls::ENABLE_XSAVES)
    .union(SecondaryControls::MODE_BASED_EXECUTE_CONTROL)
    .union(SecondaryControls::TSC_SCALING)
    .union(SecondaryControls::ENABLE_USER_WAIT_AND_PAUSE);

/// The capabilities that an L1 has for which all of VMX is software.
///
/// # Errors
///
/// [`NarrowError`], if the processor's own features contradict them.
pub fn offered(processor: Processor) -> Result<Capabilities, NarrowError> {
    Capabilities::software(processor)
        .narrow()
        .without(NOT_OFFERED)?
        .without(PrimaryControls::USE_TPR_SHADOW)?
        .without(PinControls::PROCESS_POSTED_INTERRUPTS)?
        .build()
}

/// What L0 runs L1 with: nothing intercepted but what VMX makes exit.
pub(crate) fn vmcs01(capabilities: &Capabilities) -> Vmcs {
    let mut vmcs = Vmcs::new(capabilities.basic.revision());
    let pin = PinControls::EXTERNAL_INTERRUPT_EXITING | PinControls::NMI_EXITING;
    let exit = ExitControls::HOST_ADDRESS_SPACE_SIZE | ExitControls::LOAD_EFER;
    for (field, value) in [
        (
            Field::PinBasedVmExecControl,
            capabilities.pin().nearest(pin),
        ),
        (
            Field::CpuBasedVmExecControl,
            capabilities.primary().nearest(PrimaryControls::empty()),
        ),
        (
            Field::VmEntryControls,
            capabilities.entry().nearest(EntryControls::LOAD_EFER),
        ),
        (Field::VmExitControls, capabilities.exit().nearest(exit)),
        (Field::VmcsLinkPointer, u64::MAX),
        (Field::GuestRflags, crate::registers::rflags::RESERVED_1),
    ] {
        vmcs.write(field, value);
    }
    vmcs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_consistent() {
        let offered = offered(Processor::new(40)).unwrap();
        assert!(
            offered
                .secondary()
                .may_be_1(SecondaryControls::ENABLE_EPT | SecondaryControls::ENABLE_VPID)
        );
        assert!(!offered.primary().may_be_1(PrimaryControls::USE_TPR_SHADOW));
        assert!(offered.is_subset_of(&Capabilities::software(Processor::new(40))));
    }
}
