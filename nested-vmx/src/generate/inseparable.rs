// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Rules that cannot be broken alone.

use crate::check::Rule;

/// Rules that may be broken along with others, with the reason.
const INSEPARABLE: &[(Rule, &[Rule])] = &[
    // Outside IA-32e mode, a 64-bit host is not of the mode that the instruction is executed in,
    // and an IA-32e mode guest is no guest of a 32-bit host.
    (Rule::Ia32eLma, &[Rule::HostSizeLma]),
    // At an address beyond memory there is no revision identifier.
    (Rule::LinkAlignment, &[Rule::LinkRevision]),
    // Nor are there entries.
    (Rule::EntryLoadList, &[Rule::MsrLoad]),
];

/// The rules that are broken along with this one, always or in some of its cases: the architecture
/// comes to them later, or not at all, but a list of all broken rules has them.
pub fn inseparable_from(rule: Rule) -> &'static [Rule] {
    INSEPARABLE
        .iter()
        .find(|&&(broken, _)| broken == rule)
        .map_or(&[], |&(_, also)| also)
}
