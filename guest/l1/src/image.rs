// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest's memory as it begins: instructions, tables and scenarios.

use crate::scenario::Scenario;
use crate::{code, layout, record, scenarios, tables};

/// What the guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Runs each scenario once and prints what came of it.
    Scenarios,
    /// Launches L2 in a loop, see [`crate::storm`].
    Storm {
        /// Whether the machine has a local APIC.
        local_apic: bool,
    },
    /// Works without VMX, see [`crate::bench`].
    Work,
    /// Launches an L2 that spins, see [`crate::bench`].
    Spin,
}

/// The bytes for [`layout::IMAGE`].
pub fn image(mode: Mode) -> Vec<u8> {
    match mode {
        Mode::Scenarios => build(&scenarios::all(), 0, true),
        Mode::Storm { local_apic } => build(&[scenarios::storm()], 1, local_apic),
        Mode::Work => build(&[scenarios::storm()], 2, true),
        Mode::Spin => build(&[scenarios::storm()], 3, true),
    }
}

fn build(scenarios: &[Scenario], mode: u64, local_apic: bool) -> Vec<u8> {
    let mut image = vec![0; (layout::IMAGE.end - layout::IMAGE.start) as usize];
    let parts = tables::tables().into_iter().chain([
        (layout::CODE, code::code().to_vec()),
        (layout::MODE, mode.to_le_bytes().to_vec()),
        (
            layout::HAS_APIC,
            u64::from(local_apic).to_le_bytes().to_vec(),
        ),
        (layout::FIELDS, record::list(&tables::fields())),
        (layout::SCENARIOS, record::records(scenarios)),
    ]);
    for (address, bytes) in parts {
        let at = (address - layout::IMAGE.start) as usize;
        image[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    image
}
