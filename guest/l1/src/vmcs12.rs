// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The VMCS that the guest makes for a scenario, for those who want to know what ought to come of it
//! without running it.

use nested_vmx::capability::Capabilities;
use nested_vmx::check::L1State;
use nested_vmx::vmcs::{Field, Vmcs};

use crate::layout;
use crate::scenario::Scenario;
use crate::tables;

/// PG, NE, ET and PE.
const CR0: u64 = 0x8000_0031;
/// PAE and VMXE.
const CR4: u64 = 0x2020;
/// LME and LMA.
const EFER: u64 = 0x500;

/// L1's registers when it enters L2.
pub fn l1_state() -> L1State {
    L1State::new(CR0, CR4, EFER)
}

/// The VMCS of `scenario` on a processor with these capabilities. Controls that the processor wants
/// to be 1 are 1, as the guest sets them; those that it lacks are as the scenario wants them, which
/// the guest would leave out.
pub fn vmcs12(scenario: &Scenario, capabilities: &Capabilities) -> Vmcs {
    let mut vmcs = Vmcs::new(capabilities.basic.revision());
    let controls = &scenario.controls;
    let needed = |must: u64, wanted: u32| must | u64::from(wanted);
    // What the capability MSRs of the first generation demand, not the TRUE ones.
    let fields = [
        (
            Field::PinBasedVmExecControl,
            needed(
                capabilities.pinbased_ctls & 0xffff_ffff,
                controls.pin.bits(),
            ),
        ),
        (
            Field::CpuBasedVmExecControl,
            needed(
                capabilities.procbased_ctls & 0xffff_ffff,
                controls.primary.bits(),
            ),
        ),
        (
            Field::VmExitControls,
            needed(capabilities.exit_ctls & 0xffff_ffff, controls.exit.bits()),
        ),
        (
            Field::VmEntryControls,
            needed(capabilities.entry_ctls & 0xffff_ffff, controls.entry.bits()),
        ),
        (
            Field::SecondaryVmExecControl,
            controls.secondary.bits().into(),
        ),
        (Field::GuestCr0, CR0),
        (Field::GuestCr3, layout::PML4),
        (Field::GuestCr4, CR4),
        (Field::HostCr0, CR0),
        (Field::HostCr3, layout::PML4),
        (Field::HostCr4, CR4),
    ];
    for (field, value) in fields
        .into_iter()
        .chain(tables::fields())
        .chain(scenario.fields.iter().copied())
    {
        vmcs.write(field, value);
    }
    vmcs
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use nested_vmx::capability::Processor;
    use nested_vmx::check::{EntryOutcome, EntryRequest, Failure};

    use super::*;
    use crate::scenarios;

    /// How the entry of a scenario with this name ends.
    fn expected(name: &str) -> Result<(), EntryOutcome> {
        use nested_vmx::exit_reason::ExitReason;
        use nested_vmx::instruction_error::InstructionError;
        let fails = |qualification| {
            Err(EntryOutcome::EntryFailure {
                reason: ExitReason(0x8000_0021),
                qualification,
            })
        };
        if name.starts_with("invalid guest state: link pointer") {
            fails(4)
        } else if name.starts_with("invalid guest state") || name == "shutdown, injected interrupt"
        {
            fails(0)
        } else if name == "invalid host state" {
            Err(EntryOutcome::VmFailValid(
                InstructionError::InvalidHostState,
            ))
        } else if name == "invalid control" || name == "injected event of a reserved type" {
            Err(EntryOutcome::VmFailValid(InstructionError::InvalidControls))
        } else {
            // An MSR area is loaded after the checks.
            Ok(())
        }
    }

    #[test]
    fn each_scenario_enters_l2_or_fails_as_it_is_meant_to() {
        let capabilities = Capabilities::software(Processor::new(40));
        for scenario in scenarios::all() {
            let vmcs = vmcs12(&scenario, &capabilities);
            let checked = EntryRequest::new(&capabilities, &vmcs, l1_state()).check();
            let outcome = checked.as_ref().map(|_| ()).map_err(Failure::outcome);
            assert_eq!(
                outcome,
                expected(&scenario.name),
                "{scenario:?}: {checked:?}"
            );
        }
    }

    #[test]
    fn no_two_scenarios_have_the_same_name() {
        let all = scenarios::all();
        let names: BTreeSet<_> = all.iter().map(|scenario| &scenario.name).collect();
        assert_eq!(names.len(), all.len());
    }

    /// Or a scenario would see what an earlier one wrote.
    #[test]
    fn what_a_scenario_writes_is_written_by_all_or_needs_a_control() {
        let base: BTreeSet<_> = tables::fields().iter().map(|(field, _)| *field).collect();
        let with_control = [Field::EptPointer, Field::VmxPreemptionTimerValue];
        for scenario in scenarios::all() {
            for (field, _) in scenario.fields {
                assert!(
                    base.contains(&field) || with_control.contains(&field),
                    "{field:?}"
                );
            }
        }
    }
}
