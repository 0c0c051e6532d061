// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where everything is, compared with the kernel's layout (`facts/kvm_nested_state_layout.tsv`).

use nested_vmx::kvm::{HEADER_SIZE, HeaderFlags, NestedState, STATE_SIZE, SmmFlags, StateFlags};
use nested_vmx::vmcs::Vmcs;

use crate::facts::rows;

/// A state in which each member is another number.
fn state() -> NestedState {
    let mut state =
        NestedState::root(0x1122_3344_5566_7000).with_current(0x2233_4455_6677_8000, Vmcs::new(0));
    state.set_shadow(Some(Vmcs::new(0)));
    state.set_flags(StateFlags::from_bits_retain(0x1234));
    state.set_format(0x5678);
    state.set_smm_flags(SmmFlags::from_bits_retain(0x4321));
    state.set_preemption_timer_deadline(Some(0x0102_0304_0506_0708));
    state.set_header_flags(HeaderFlags::from_bits_retain(0x8765_4321));
    state
}

#[test]
fn members_are_where_the_kernel_has_them() {
    let bytes = state().to_bytes();
    let mut seen = 0;
    for row in rows("kvm_nested_state_layout.tsv") {
        let offset: usize = row["offset"].parse().expect("an offset");
        let size: usize = row["size"].parse().expect("a size");
        let mut value = [0; 8];
        let length = size.min(8);
        value[..length].copy_from_slice(&bytes[offset..offset + length]);
        let value = u64::from_le_bytes(value);
        let expected = match row["member"].as_str() {
            "flags" => 0x1234,
            "format" => 0x5678,
            "size" => 8320,
            "hdr.vmx.vmxon_pa" => 0x1122_3344_5566_7000,
            "hdr.vmx.vmcs12_pa" => 0x2233_4455_6677_8000,
            "hdr.vmx.smm.flags" => 0x4321,
            "hdr.vmx.pad" => 0,
            "hdr.vmx.flags" => 0x8765_4321,
            "hdr.vmx.preemption_timer_deadline" => 0x0102_0304_0506_0708,
            "data.vmx.vmcs12" => 0x11e5_7ed0,
            "data.vmx.shadow_vmcs12" => 0x91e5_7ed0,
            "total" => {
                assert_eq!((offset, size), (0, STATE_SIZE));
                continue;
            }
            "hdr.pad" => {
                assert_eq!(offset + size, HEADER_SIZE);
                continue;
            }
            other => panic!("{other} is not known here"),
        };
        assert_eq!(value, expected, "{}", row["member"]);
        seen += 1;
    }
    assert_eq!(seen, 11);
}
