// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Each assertion of the kernel's own test of KVM_SET_NESTED_STATE, and what its code says besides
//! (`facts/set_nested_state_cases.tsv`).

use nested_vmx::kvm::{
    Context, Errno, HeaderFlags, NestedState, SmmFlags, StateFlags, judge, judge_bytes,
};
use nested_vmx::vmcs::{Field, Vmcs};

use crate::facts::rows;
use crate::states::capabilities;

/// The selftest's default: both regions, flags 0, vmcs12 with KVM's revision and all else 0.
fn default() -> NestedState {
    let mut state = NestedState::root(0x1000).with_current(0x2000, Vmcs::new(0));
    state.set_size(8320);
    state
}

/// The case's state, and how the vCPU differs: (SMM, enlightened VMCS).
fn case(number: u32) -> (NestedState, bool) {
    let mut state = default();
    let mut enlightened = false;
    let flags = |state: &mut NestedState, bits| state.set_flags(StateFlags::from_bits_retain(bits));
    match number {
        2 => state.set_size(0),
        3 => flags(&mut state, 0xf),
        4 => state.set_flags(StateFlags::RUN_PENDING),
        5 => state.set_format(1),
        6 => {}
        7 => state.set_vmxon(None),
        8 | 11 => {
            state.set_vmxon(None);
            state.set_current(None);
            state.set_flags(StateFlags::EVMCS);
        }
        9 | 10 | 24 => {
            state.set_vmxon(None);
            state.set_current(None);
        }
        1011 => {
            (state, _) = case(11);
            enlightened = true;
        }
        12 => {
            state.set_vmxon(None);
            state.set_current(None);
            state.set_smm_flags(SmmFlags::GUEST_MODE);
        }
        13 => state.set_header_flags(HeaderFlags::from_bits_retain(!0)),
        14 => state.set_vmxon(None),
        15 => state.set_vmxon(Some(1)),
        16 => {
            state.set_flags(StateFlags::GUEST_MODE | StateFlags::RUN_PENDING);
            state.set_smm_flags(SmmFlags::GUEST_MODE);
        }
        17 => state.set_smm_flags(SmmFlags::from_bits_retain(!3)),
        18 => state.set_smm_flags(SmmFlags::GUEST_MODE),
        19 => state.set_size(128),
        20 => {
            state.set_size(128);
            state.set_current(None);
        }
        21 => {}
        22 => {
            state.set_size(128);
            state.set_current(None);
            state.set_header_flags(HeaderFlags::from_bits_retain(!0));
        }
        23 => {
            state.set_vmxon(Some(0));
            state.set_current(Some(0));
        }
        25 => state.set_flags(StateFlags::GUEST_MODE),
        26 => state
            .vmcs12_mut()
            .expect("vmcs12")
            .set_header(0x11e5_7ed1, false),
        27 => {
            state = shadowing();
            let mut bytes = state.to_bytes();
            // The indicator, in the header of the shadow VMCS.
            bytes[4224 + 3] &= 0x7f;
            state = NestedState::from_bytes(&bytes).expect("a state");
        }
        28 => state.set_smm_flags(SmmFlags::GUEST_MODE),
        29 => flags(&mut state, 0x10),
        _ => panic!("case {number} is not made here"),
    }
    (state, enlightened)
}

/// L2 is active, and its VMCS shadowing on.
fn shadowing() -> NestedState {
    let mut state = crate::states::current().in_guest_mode(false);
    let vmcs12 = state.vmcs12_mut().expect("vmcs12");
    let primary = vmcs12.read(Field::CpuBasedVmExecControl) | 1 << 31;
    vmcs12.write(Field::CpuBasedVmExecControl, primary);
    vmcs12.write(Field::SecondaryVmExecControl, 1 << 14);
    vmcs12.write(Field::VmcsLinkPointer, 0x5000);
    state.set_shadow(Some(Vmcs::new(0)));
    state
}

fn errno(number: u32, vmx: bool) -> Option<Errno> {
    let capabilities = capabilities();
    let (state, enlightened) = case(number);
    let context = Context {
        vmx_in_cpuid: vmx,
        // Its only way to be told from case 18.
        in_smm: number == 28,
        enlightened_vmcs: enlightened,
        ..Context::new(&capabilities)
    };
    let judgement = judge(&state, &context);
    for refusal in judgement.refusals() {
        assert!(!refusal.to_string().is_empty() && !refusal.remedy().is_empty());
    }
    judgement.accepted().err().map(|refusal| refusal.errno())
}

#[test]
fn every_case_of_the_kernels_test() {
    let mut count = 0;
    for row in rows("set_nested_state_cases.tsv") {
        let number: u32 = row["n"].parse().expect("a number");
        let vmx = row["vmx_in_cpuid"] == "yes";
        let expected = match row["expected"].split(';').next() {
            Some("0") => None,
            Some("-EINVAL") => Some(Errno::EINVAL),
            Some("-EFAULT") => Some(Errno::EFAULT),
            other => panic!("case {number}: {other:?}"),
        };
        let found = match number {
            // No pointer, no bytes.
            1 => {
                let capabilities = capabilities();
                let judgement = judge_bytes(&[], &Context::new(&capabilities));
                judgement.accepted().err().map(|refusal| refusal.errno())
            }
            _ => errno(number, vmx),
        };
        assert_eq!(found, expected, "case {number}: {}", row["changes"]);
        count += 1;
    }
    assert_eq!(count, 29);
    // What the row says besides.
    assert_eq!(errno(1011, true), None, "case 11, with the capability");
}

#[test]
fn a_good_shadow_is_accepted() {
    let capabilities = capabilities();
    let judgement = judge(&shadowing(), &Context::new(&capabilities));
    assert_eq!(judgement.accepted(), Ok(()));
}
