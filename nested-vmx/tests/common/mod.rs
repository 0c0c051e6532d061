// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the tests of capabilities and of generated states share.

#![allow(clippy::unwrap_used, clippy::panic, dead_code)] // A test that fails panics.

use std::sync::LazyLock;

use nested_vmx::capability::{
    BasicFeatures, Capabilities, EptVpid, FeatureControl, Features, MiscFeatures, Part, Processor,
};
use nested_vmx::controls::{
    EntryControls, ExitControls, PinControls, PrimaryControls, SecondaryControls,
    SecondaryExitControls, TertiaryControls,
};
use nested_vmx::registers::cr4;
use proptest::prelude::*;

const CORPUS: &str = include_str!("../facts/vmlaunch_corpus.tsv");

/// Capabilities with their name.
pub type Named = (&'static str, Capabilities);

/// What software offers, with all the optional features of the processor.
pub fn software() -> Capabilities {
    let mut processor = Processor::new(46);
    processor.features = Features::all() - Features::FRED;
    processor.debugctl |= 1 << 2 | 1 << 15;
    processor.perf_global_ctrl = 0x7_0000_00ff;
    Capabilities::software(processor)
}

/// What a processor without optional features offers.
fn plain() -> Capabilities {
    Capabilities::software(Processor::new(39))
}

/// What an emulated processor was seen to report.
pub fn observed() -> Capabilities {
    let line = CORPUS.lines().find(|line| line.starts_with("# caps "));
    let values = line.unwrap().split(' ').nth(3).unwrap();
    let msrs = values.split('|').filter_map(|pair| {
        let (index, value) = pair.split_once('=')?;
        Some((
            u32::from_str_radix(index, 16).ok()?,
            u64::from_str_radix(value, 16).ok()?,
        ))
    });
    let mut capabilities = Capabilities::from_msrs(Processor::new(40), msrs);
    capabilities.feature_control = FeatureControl::VMX;
    capabilities
}

/// All that there is a name for, the dual-monitor treatment of SMM among it.
pub fn everything() -> Capabilities {
    let mut all = software();
    all.processor.features = Features::all();
    all.processor.physical_address_width = 52;
    all.cr4_fixed1 |= cr4::FRED;
    all.basic.0 |= BasicFeatures::all().bits();
    all.misc.0 |= MiscFeatures::all().bits();
    all.true_pinbased_ctls |= u64::from(PinControls::all().bits()) << 32;
    all.true_procbased_ctls |= u64::from(PrimaryControls::all().bits()) << 32;
    all.true_exit_ctls |= u64::from(ExitControls::all().bits()) << 32;
    all.true_entry_ctls |= u64::from(EntryControls::all().bits()) << 32;
    all.pinbased_ctls |= all.true_pinbased_ctls;
    all.procbased_ctls |= all.true_procbased_ctls;
    all.exit_ctls |= all.true_exit_ctls;
    all.entry_ctls |= all.true_entry_ctls;
    all.procbased_ctls2 = u64::from(SecondaryControls::all().bits()) << 32;
    all.procbased_ctls3 = TertiaryControls::all().bits();
    all.exit_ctls2 = SecondaryExitControls::all().bits();
    all.ept_vpid = EptVpid::all();
    all
}

/// The smallest: no secondary controls, no TRUE MSRs, nothing optional.
fn bare() -> Capabilities {
    plain()
        .narrow()
        .without(PrimaryControls::ACTIVATE_SECONDARY_CONTROLS)
        .and_then(|builder| builder.without(PrimaryControls::MONITOR_TRAP_FLAG))
        .and_then(|builder| builder.without(PinControls::PREEMPTION_TIMER))
        .and_then(|builder| builder.without(BasicFeatures::all()))
        .and_then(|builder| builder.without(MiscFeatures::all()))
        .and_then(|builder| builder.with_cr3_targets(0).build())
        .unwrap()
}

/// With EPT, but the least of it.
fn simple_ept() -> Capabilities {
    software()
        .narrow()
        .without(EptVpid::ACCESSED_DIRTY | EptVpid::UC | EptVpid::SUPERVISOR_SHADOW_STACK)
        .and_then(|builder| builder.without(BasicFeatures::FREE_ERROR_CODE))
        .and_then(|builder| builder.without(MiscFeatures::ZERO_LENGTH_INJECTION))
        .and_then(|builder| builder.without(MiscFeatures::WAIT_FOR_SIPI))
        .and_then(|builder| builder.without(Features::SGX | Features::RTM | Features::CET_IBT))
        .and_then(nested_vmx::capability::Builder::build)
        .unwrap()
}

/// A processor without IA-32e mode, whose VMX structures are below 4 GiB.
fn narrow_addresses() -> Capabilities {
    let mut processor = software().processor;
    processor.efer &= !0x500;
    processor.physical_address_width = 36;
    let mut low = software()
        .narrow()
        .with_processor(&processor)
        .without(ExitControls::HOST_ADDRESS_SPACE_SIZE)
        .and_then(nested_vmx::capability::Builder::build)
        .unwrap();
    low.basic.0 |= 1 << 48;
    low
}

/// Capabilities to generate states for.
pub fn sets() -> &'static [Named; 7] {
    static SETS: LazyLock<[Named; 7]> = LazyLock::new(|| {
        [
            ("software", software()),
            ("plain", plain()),
            ("observed", observed()),
            ("everything", everything()),
            ("bare", bare()),
            ("simple EPT", simple_ept()),
            ("narrow addresses", narrow_addresses()),
        ]
    });
    &SETS
}

/// Random bytes that are the same for the same seed (splitmix64).
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (0..length.div_ceil(8))
        .flat_map(|_| next().to_le_bytes())
        .collect()
}

/// Parts of any capabilities.
pub fn parts() -> impl Strategy<Value = Part> {
    // One bit or a few, so that something remains.
    let few = || (0..64u32, 0..64u32).prop_map(|(a, b)| 1u64 << a | 1 << b);
    (0..15, few()).prop_map(|(which, bits)| {
        let half = (bits | bits >> 32) as u32;
        match which {
            0 => PinControls::from_bits_retain(half).into(),
            1 => PrimaryControls::from_bits_retain(half).into(),
            2 => SecondaryControls::from_bits_retain(half).into(),
            3 => TertiaryControls::from_bits_retain(bits).into(),
            4 => ExitControls::from_bits_retain(half).into(),
            5 => SecondaryExitControls::from_bits_retain(bits).into(),
            6 => EntryControls::from_bits_retain(half).into(),
            7 => EptVpid::from_bits_retain(bits).into(),
            8 => BasicFeatures::from_bits_truncate(bits).into(),
            9 => MiscFeatures::from_bits_truncate(bits).into(),
            10 => FeatureControl::from_bits_retain(bits).into(),
            11 => Part::VmFunctions(bits),
            12 => Part::Cr0(bits),
            13 => Part::Cr4(bits),
            _ => Features::from_bits_truncate(half).into(),
        }
    })
}
