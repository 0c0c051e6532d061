// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Capabilities to make states for.

use std::sync::LazyLock;

use nested_vmx::capability::{
    BasicFeatures, Builder, Capabilities, EptVpid, Features, MiscFeatures, Processor,
};
use nested_vmx::controls::{
    EntryControls, ExitControls, PinControls, PrimaryControls, SecondaryControls,
    SecondaryExitControls, TertiaryControls,
};

/// The capabilities with this number.
pub fn host(number: u8) -> Capabilities {
    static HOSTS: LazyLock<[Capabilities; 5]> =
        LazyLock::new(|| [software(), everything(), plain(), bare(), simple_ept()]);
    HOSTS[usize::from(number) % HOSTS.len()]
}

/// What software offers, with all the optional features of the processor.
fn software() -> Capabilities {
    let mut processor = Processor::new(46);
    processor.features = Features::all() - Features::FRED;
    processor.perf_global_ctrl = 0x7_0000_00ff;
    Capabilities::software(processor)
}

/// What a processor without optional features offers.
fn plain() -> Capabilities {
    Capabilities::software(Processor::new(39))
}

/// All that there is a name for.
fn everything() -> Capabilities {
    let mut all = software();
    all.processor.features = Features::all();
    all.basic.0 |= BasicFeatures::all().bits();
    all.misc.0 |= MiscFeatures::all().bits();
    let controls = [
        (&mut all.pinbased_ctls, PinControls::all().bits()),
        (&mut all.true_pinbased_ctls, PinControls::all().bits()),
        (&mut all.procbased_ctls, PrimaryControls::all().bits()),
        (&mut all.true_procbased_ctls, PrimaryControls::all().bits()),
        (&mut all.exit_ctls, ExitControls::all().bits()),
        (&mut all.true_exit_ctls, ExitControls::all().bits()),
        (&mut all.entry_ctls, EntryControls::all().bits()),
        (&mut all.true_entry_ctls, EntryControls::all().bits()),
        (&mut all.procbased_ctls2, SecondaryControls::all().bits()),
    ];
    for (msr, may) in controls {
        *msr |= u64::from(may) << 32;
    }
    all.procbased_ctls3 = TertiaryControls::all().bits();
    all.exit_ctls2 = SecondaryExitControls::all().bits();
    all.ept_vpid = EptVpid::all();
    all
}

/// No secondary controls, nothing optional.
fn bare() -> Capabilities {
    narrowed(plain().narrow().with_cr3_targets(0), |builder| {
        builder
            .without(PrimaryControls::ACTIVATE_SECONDARY_CONTROLS)?
            .without(PrimaryControls::MONITOR_TRAP_FLAG)?
            .without(BasicFeatures::all())?
            .without(MiscFeatures::all())
    })
}

/// With EPT, but the least of it.
fn simple_ept() -> Capabilities {
    narrowed(software().narrow(), |builder| {
        builder
            .without(EptVpid::ACCESSED_DIRTY | EptVpid::UC | EptVpid::SUPERVISOR_SHADOW_STACK)?
            .without(BasicFeatures::FREE_ERROR_CODE)?
            .without(MiscFeatures::ZERO_LENGTH_INJECTION | MiscFeatures::WAIT_FOR_SIPI)?
            .without(Features::SGX | Features::RTM | Features::CET_IBT)
    })
}

fn narrowed(
    builder: Builder,
    take_away: impl FnOnce(Builder) -> Result<Builder, nested_vmx::capability::NarrowError>,
) -> Capabilities {
    take_away(builder)
        .and_then(Builder::build)
        .expect("what is taken away need not be 1")
}
