// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How a scenario is written in the image: a record of 64-bit words, and what it points to.

use crate::known;
use crate::layout;
use crate::scenario::Scenario;

/// The address of the name, a text that ends with a zero byte; 0 after the last record.
pub(crate) const NAME: u64 = 0x00;
pub(crate) const PIN: u64 = 0x08;
pub(crate) const PRIMARY: u64 = 0x10;
pub(crate) const SECONDARY: u64 = 0x18;
pub(crate) const EXIT: u64 = 0x20;
pub(crate) const ENTRY: u64 = 0x28;
/// The address of the list of fields.
pub(crate) const FIELDS: u64 = 0x30;
/// The number of a [`crate::scenario::L1Event`].
pub(crate) const EVENT: u64 = 0x38;
/// Bit 0: VMRESUME. Bit 1: STI before the entry. Bit 2: not on the bare machine.
pub(crate) const FLAGS: u64 = 0x40;
pub(crate) const MOST_EXITS: u64 = 0x48;
/// Bits of IA32_VMX_MISC that the scenario needs.
pub(crate) const MISC: u64 = 0x50;
pub(crate) const SIZE: u64 = 0x58;

/// What ends a list of fields.
const END: u64 = u64::MAX;

/// A list of fields: pairs of an encoding and a value.
pub(crate) fn list(fields: &[(nested_vmx::vmcs::Field, u64)]) -> Vec<u8> {
    fields
        .iter()
        .flat_map(|(field, value)| [u64::from(field.encoding().0), *value])
        .chain([END])
        .flat_map(u64::to_le_bytes)
        .collect()
}

/// The records of `scenarios`, their lists and names, for [`layout::SCENARIOS`].
pub(crate) fn records(scenarios: &[Scenario]) -> Vec<u8> {
    let mut records = Vec::new();
    let mut rest = Vec::new();
    let rest_at = layout::SCENARIOS + SIZE * (scenarios.len() as u64 + 1);
    for scenario in scenarios {
        let fields = rest_at + rest.len() as u64;
        rest.extend(list(&scenario.fields));
        let name = rest_at + rest.len() as u64;
        rest.extend(scenario.name.bytes());
        rest.push(0);
        rest.resize(rest.len().next_multiple_of(8), 0);
        let controls = &scenario.controls;
        let words = [
            name,
            controls.pin.bits().into(),
            controls.primary.bits().into(),
            controls.secondary.bits().into(),
            controls.exit.bits().into(),
            controls.entry.bits().into(),
            fields,
            scenario.event as u64,
            u64::from(scenario.resume)
                | u64::from(scenario.interrupts_on) << 1
                | u64::from(known::hangs_bochs(&scenario.name)) << 2,
            scenario.most_exits,
            scenario.misc.bits(),
        ];
        records.extend(words.into_iter().flat_map(u64::to_le_bytes));
    }
    records.resize((rest_at - layout::SCENARIOS) as usize, 0);
    records.extend(rest);
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios;

    fn word(bytes: &[u8], at: u64) -> u64 {
        let at = at as usize;
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    #[test]
    fn a_record_leads_to_its_name_and_its_fields() {
        let all = scenarios::all();
        let bytes = records(&all);
        for (index, scenario) in all.iter().enumerate() {
            let record = SIZE * index as u64;
            let name = (word(&bytes, record + NAME) - layout::SCENARIOS) as usize;
            let mut expected = scenario.name.clone().into_bytes();
            expected.push(0);
            assert!(bytes[name..].starts_with(&expected), "{}", scenario.name);
            let fields = (word(&bytes, record + FIELDS) - layout::SCENARIOS) as usize;
            assert!(bytes[fields..].starts_with(&list(&scenario.fields)));
            assert_eq!(word(&bytes, record + MOST_EXITS), scenario.most_exits);
        }
        assert_eq!(word(&bytes, SIZE * all.len() as u64 + NAME), 0);
    }

    #[test]
    fn the_records_end_before_the_ept_structures() {
        assert!(layout::SCENARIOS + records(&scenarios::all()).len() as u64 <= layout::EPT);
    }
}
