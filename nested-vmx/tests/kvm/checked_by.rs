// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Who checks which rule, compared with a table of KVM's functions (`facts/entry_checks.tsv`).

use nested_vmx::check::Rule;
use nested_vmx::kvm::CheckedBy;

use crate::facts::rows;

/// Rules for which the table's function is one of VMLAUNCH's only, or does not have the check in the
/// kernels that were read.
const OTHERWISE: &[(&str, &str)] = &[
    (
        "has_lma",
        "nested_vmx_run calls it, KVM_SET_NESTED_STATE does not",
    ),
    ("ia32e_lma0", "L1's IA32_EFER is not looked at"),
    (
        "list_max",
        "the length is looked at when the areas are used",
    ),
    ("ml_entry", "the area is loaded by VMLAUNCH only"),
    ("tsc_mult", "there is no such check in Linux 6.1"),
    (
        "g_pdpte",
        "nested_vmx_load_cr3 loads them for VMLAUNCH only",
    ),
    ("host_pkrs", "KVM does not offer the control"),
];

#[test]
fn the_table_of_kvms_functions_agrees() {
    for row in rows("entry_checks.tsv") {
        let id = row["id"].as_str();
        let Some(rule) = Rule::from_id(id) else {
            panic!("{id} is no rule");
        };
        if OTHERWISE.iter().any(|(other, _)| *other == id) {
            assert!(!matches!(rule.checked_by(), CheckedBy::Kvm(_)), "{id}");
            continue;
        }
        let function = row["kvm_function"].as_str();
        let expected_kvm = !(function.starts_with("hw")
            || function.starts_with("n/a")
            || function.starts_with('-')
            || function == "nested_vmx_run");
        let is_kvm = matches!(rule.checked_by(), CheckedBy::Kvm(_));
        assert_eq!(
            is_kvm,
            expected_kvm,
            "{id}: {function}, {:?}",
            rule.checked_by()
        );
    }
}
